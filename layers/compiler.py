"""The C compiler for the layer's one library of our own: Zig's, from a pinned wheel, so that any Linux has the same one without root."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from layers.package_index import complaint

# Its C compiler is Clang 20; it brings the headers and stubs of every GLIBC since 2.0.
WHEEL = "ziglang==0.15.1"


def zig(folder: Path) -> Path:
    """The compiler, installed in the folder if it is not there yet.

    Raises:
        SystemExit: It cannot be had or does not run here.
    """
    program = folder / WHEEL.replace("==", "-") / "ziglang" / "zig"
    if not program.is_file():
        install(program.parent.parent)
    try:
        subprocess.run([program, "version"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(
            f"The C compiler {program} does not run here ({error}). Remove {program.parent.parent} and build again; if it still does not, "
            "this machine cannot run programs from there (is the folder mounted noexec?): build where it can"
        ) from error
    return program


def install(folder: Path) -> None:
    """Install the compiler's wheel into a folder of its own, which is there when all of it is."""
    draft = folder.with_name(folder.name + ".draft")
    shutil.rmtree(draft, ignore_errors=True)
    said = complaint("install", ["--no-compile", "--target", str(draft), WHEEL])
    if said is not None:
        raise SystemExit(
            f"The layer's library needs a C compiler, and its wheel, {WHEEL}, cannot be fetched. Is there a way to the package index, and 400 MB "
            f"free for {folder}? pip said: {said[-800:]}"
        )
    shutil.rmtree(folder, ignore_errors=True)
    draft.replace(folder)
