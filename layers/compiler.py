"""The C compiler for the layer's libraries of our own: Zig's, from a pinned wheel, so that any Linux has the same one without root.

It links for an old GLIBC and for another processor on any Linux, and gives the same bytes everywhere.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from layers.package_index import complaint

# Its C compiler is Clang 20; it brings the headers and stubs of every GLIBC since 2.0.
WHEEL = "ziglang==0.15.1"

# Of manylinux2014, MXNet's wheels; no image has an older one.
GLIBC = "2.17"
# The least that a processor of each kind can do.
_PROCESSORS = {"x86_64": "x86_64", "aarch64": "generic"}

_VERSIONS = "versions.map"


class Library(NamedTuple):
    """A shared library that is to be compiled.

    Attributes:
        path: Where to write it; its file name is the one that others ask the loader for.
        source: The C file.
        machine: The processor, as compilers name it.
        generated: Texts of files that the source includes, by name.
        defined: What is defined for the preprocessor: ``-DPREFIX=scipy_``.
        beside: The library that it calls; at run time it is looked for where it lies from ``path``.
        hands_down: Whether what that library needs is looked for there, too (DT_RPATH instead of DT_RUNPATH).
        versions: The linker's version script, where its functions have symbol versions.
    """

    path: Path
    source: Path
    machine: str
    generated: Mapping[str, str] = {}
    defined: tuple[str, ...] = ()
    beside: Path | None = None
    hands_down: bool = False
    versions: str = ""


def compile_library(zig: Path, library: Library) -> None:
    """Compile it.

    Raises:
        SystemExit: It does not compile; says what the compiler said.
    """
    with tempfile.TemporaryDirectory(prefix="gluon-lambda-library-") as folder:
        shutil.copy(library.source, folder)
        for name, text in {**library.generated, _VERSIONS: library.versions}.items():
            Path(folder, name).write_text(text)
        run(command(zig, library), Path(folder))


def command(zig: Path, library: Library) -> list[str]:
    """The compiler's command line. Relative names and no debugging information: the folder leaves no trace in the library."""
    target = ("-target", f"{library.machine}-linux-gnu.{GLIBC}", f"-mcpu={_PROCESSORS[library.machine]}")
    return [
        *[str(zig.resolve()), "cc", *target, "-shared", "-fPIC", "-O2", "-g0", "-s"],
        *["-std=c11", "-Wall", "-Wextra", "-Werror", "-fvisibility=hidden", "-fno-strict-aliasing", *library.defined],
        *[library.source.name, "-o", str(library.path.resolve()), f"-Wl,-soname,{library.path.name}", "-Wl,-z,defs"],
        *([f"-Wl,--version-script={_VERSIONS}"] if library.versions else []),
        *_linked(library),
    ]


def _linked(library: Library) -> list[str]:
    if library.beside is None:
        return []
    found_in = os.path.relpath(library.beside.parent, library.path.parent)
    old_tags = ["-Wl,--disable-new-dtags"] if library.hands_down else []
    return [str(library.beside.resolve()), f"-Wl,-rpath,$ORIGIN/{found_in}", *old_tags]


def run(arguments: list[str], folder: Path) -> None:
    """Run the compiler in the folder; its caches go there, too, since a home folder may be read-only or absent.

    Raises:
        SystemExit: It failed; says what it said.
    """
    environ = os.environ | {"ZIG_GLOBAL_CACHE_DIR": str(folder / "cache"), "ZIG_LOCAL_CACHE_DIR": str(folder / "cache")}
    done = subprocess.run(arguments, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(
            f"The layer's library cannot be compiled. {' '.join(arguments)}: {done.stderr.strip()[-2000:]}"
        )


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
