"""Builds the Lambda layer: what requirements.txt pins, trimmed, with one OpenBLAS, with bytecode, the same bytes each time.

    python -m layers.build --python 3.12 --out FOLDER
    python -m layers.build --python 3.12 --architecture arm64

FOLDER becomes /opt: ``python/`` and ``lib/``. In build/layers/3.12/ (3.12-arm64/) are the same, its zip, the function's folder and zip, and a report.
Any Linux on x86_64 does for both, without Docker and without root; docs/layers.md explains each step.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from layers import (
    armpl_bridge,
    bytecode,
    closure,
    compiler,
    elf,
    folders,
    fortran_runtime,
    function,
    native_libraries,
    openblas_bridge,
    packing,
    removals,
    report,
    sizes,
    turns,
    wheels,
)
from layers.images import ARCHITECTURES, IMAGES
from layers.targets import Target, target

ROOT = Path(__file__).parent.parent
REQUIREMENTS = ROOT / "requirements.txt"
BUILD = ROOT / "build"
REPORTS = ("report.md", "report.json")
NATIVE_LIBRARIES = ("libgomp.so.1",)


class Options(NamedTuple):
    """How to build.

    Attributes:
        target: For what.
        folder: Where layer, function, their zips and the report go.
        python: The interpreter that compiles bytecode; None for none.
        alone: Whether bytecode takes the source's place.
        budgets: What may not be exceeded.
    """

    target: Target
    folder: Path
    python: str | None
    alone: bool = False
    budgets: sizes.Budgets = sizes.Budgets()

    @property
    def layer(self) -> Path:
        """What becomes /opt."""
        return self.folder / "layer"

    @property
    def function(self) -> Path:
        """What becomes /var/task."""
        return self.folder / "function"


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    options, out = read(arguments)
    try:
        if out:
            folders.refuse_what_cannot_be_filled(out, folders.LAYER)  # sooner than a minute from now, if it cannot be
        make(options, out)
    except OSError as error:
        raise SystemExit(
            f"{error.filename or options.folder}: {error.strerror or str(error)[:500]}. The build writes to {BUILD} and to {tempfile.gettempdir()}: "
            "both need to be yours, and 1 GB free for each Python. What is half built is built anew the next time"
        ) from error


def make(options: Options, out: Path | None) -> None:
    """Build, tell of it, and copy the layer to where it is wanted."""
    with turns.turn(BUILD / "layers.lock"):
        print(report.summary(build(options)), flush=True)
        if options.python is None:
            print(f"Without bytecode {bytecode.MEASURED_COST}")
        if out and out.resolve() != options.layer.resolve():
            folders.empty(out)
            shutil.copytree(options.layer, out, dirs_exist_ok=True)


def read(arguments: list[str] | None, environ: Mapping[str, str] = os.environ) -> tuple[Options, Path | None]:
    """The options of a command line, and where the layer is to be copied to.

    Raises:
        SystemExit: They ask for what cannot be built.
    """
    parser = argparse.ArgumentParser(prog="python -m layers.build", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--python", required=True, metavar="VERSION", help=f"one of {', '.join(IMAGES)}")
    parser.add_argument("--architecture", default="x86_64", help=f"one of {', '.join(ARCHITECTURES)}")
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="where to; always: build/layers/VERSION/layer, or VERSION-arm64"
    )
    shipped = parser.add_mutually_exclusive_group()
    shipped.add_argument(
        "--no-bytecode", action="store_true", help="go without bytecode; every cold start compiles anew"
    )
    shipped.add_argument(
        "--no-source",
        action="store_true",
        help="ship bytecode alone, without docstrings: smaller, but tracebacks show no lines, and help() nothing",
    )
    given = parser.parse_args(arguments)
    chosen = target(given.python, given.architecture)
    python = None if given.no_bytecode else bytecode.python_for(chosen.python, environ)
    return Options(chosen, BUILD / "layers" / chosen.name, python, alone=given.no_source), given.out


def build(options: Options) -> report.Report:
    """Build layer and function, pack both, and write the report.

    Raises:
        SystemExit: Something is missing, or too large; says what, and what to do.
    """
    wanted = wheels.requirements(REQUIREMENTS.read_text(), options.target)
    fetched = wheels.fetch(wanted, options.target, BUILD / "wheels" / options.target.name)
    zig = compiler.zig(BUILD / "tools")
    native_libraries.main(native_folder(options.target), options.target.machine)
    # All is here that has to be fetched: only now goes what was built before.
    clear(options)
    owners = fill(options.layer, fetched, options.target)
    unpacked = sizes.total(options.layer)
    removed = removals.remove(options.layer / "python", removals.rules_for(options.target.architecture))
    bridge = bridge_openblas if options.target.architecture == "x86_64" else bridge_armpl
    bridge(zig, options.layer / "python", removed)
    trimmed = sizes.total(options.layer)
    # Not sooner: what the linker reads goes, too.
    cut_libraries(options.layer)
    cut = sizes.total(options.layer)
    finish(options)
    drafts = pack(options)
    measured = measure(options, drafts, unpacked=unpacked, trimmed=trimmed, cut=cut)
    made = report.Report(
        options.target, options.python, measured, sizes.by_package(options.layer, owners), removed, fetched
    )
    report.write(made, options.folder)
    refuse_open_ends(options)
    sizes.refuse_excess(measured, options.budgets, made.packages)
    # A zip by its own name is one that may be uploaded. The layer's comes last: make takes it for all of them.
    for draft in reversed(drafts):
        draft.replace(draft.with_suffix(""))
    return made


def clear(options: Options) -> None:
    """Remove an earlier build. Reports and zips go first: whoever looks for them finds a whole build or none."""
    for name in (*REPORTS, "layer.zip", "function.zip"):
        (options.folder / name).unlink(missing_ok=True)
    for folder in (options.layer, options.function):
        folders.empty(folder)


def native_folder(target: Target) -> Path:
    """Where libgomp and what else MXNet's wheel lacks are kept; those of x86_64 serve this machine, too."""
    return BUILD / ("lib" if target.architecture == "x86_64" else f"lib-{target.architecture}")


def fill(out: Path, fetched: list[Path], target: Target) -> dict[str, str]:
    """Unpack the wheels and put the native libraries beside them.

    Returns:
        The package that each top-level name belongs to.
    """
    owners: dict[str, str] = {}
    for wheel in fetched:
        package = wheel.name.partition("-")[0].lower().replace("_", "-")
        owners |= {sizes.top_level(path): package for path in wheels.unpack(wheel, out / "python")}
    (out / "lib").mkdir()
    for name in NATIVE_LIBRARIES:
        shutil.copyfile(native_folder(target) / name, out / "lib" / name)
    shutil.copyfile(Path(__file__).with_name("NOTICE.md"), out / "lib" / "NOTICE.md")
    return owners


def cut_libraries(out: Path) -> None:
    """Cut out of every shared library what the loader does not read."""
    for path in packing.files(out):
        if ".so" in path.name and elf.is_elf(path):
            path.write_bytes(elf.cut_unloaded(path.read_bytes()))


def bridge_openblas(zig: Path, python: Path, removed: list[removals.Removed]) -> None:
    """Put libraries under the names of two that were removed: NumPy's OpenBLAS, whose calls go to MXNet's, and the Fortran runtime of that one."""
    fortran_runtime.compile_runtime(zig, python / "mxnet")
    name = next(Path(each.path).name for each in removed if "openblas" in Path(each.path).name)
    prefix = "scipy_" if "scipy" in name else ""
    (python / "numpy.libs").mkdir()
    openblas_bridge.compile_bridge(
        zig, python / "numpy.libs" / name, python / "mxnet" / "libopenblas.so.0", prefix=prefix
    )


def bridge_armpl(zig: Path, python: Path, _removed: list[removals.Removed]) -> None:
    """Put libraries under the names of those that MXNet's wheel for aarch64 lacks, which hand its calls to NumPy's OpenBLAS."""
    openblas = next((python / "numpy.libs").glob("*openblas*"))
    prefix = "scipy_" if "scipy" in openblas.name else ""
    armpl_bridge.compile_bridge(zig, python / "mxnet", openblas, prefix=prefix)
    armpl_bridge.leave_libz_alone(python)


def finish(options: Options) -> None:
    """Compile and settle the layer, and make the function."""
    if options.python:
        # The handler keeps its docstrings: FastAPI's page shows some of them.
        bytecode.compile_folder(
            options.python, options.layer / "python", "/opt/python", alone=options.alone, documented=False
        )
    packing.settle(options.layer)
    function.make(options.function, options.python, alone=options.alone)


def pack(options: Options) -> tuple[Path, Path]:
    """Write both zips, as drafts."""
    drafts = (options.folder / "layer.zip.draft", options.folder / "function.zip.draft")
    for folder, draft in zip((options.layer, options.function), drafts, strict=True):
        packing.pack(folder, draft)
    return drafts


def measure(options: Options, drafts: tuple[Path, Path], *, unpacked: int, trimmed: int, cut: int) -> sizes.Sizes:
    """How large everything is."""
    layer, made = options.layer, options.function
    compiled = sizes.total_of(layer, ".pyc") + sizes.total_of(made, ".pyc")
    beside = 0 if options.alone or not compiled else sizes.total_of(layer, ".py") + sizes.total_of(made, ".py")
    return sizes.Sizes(
        *(unpacked, trimmed, cut, sizes.total(layer), sizes.total(made), beside, compiled),
        *(draft.stat().st_size for draft in drafts),
    )


def refuse_open_ends(options: Options) -> None:
    """Stop where a library would not load on Lambda.

    Raises:
        SystemExit: Names each library that lacks one, and what it lacks.
    """
    place = closure.Place(options.target.image, options.layer / "lib")
    found = closure.open_ends([options.layer, options.function], place)
    if found:
        raise SystemExit(
            f"The layer would not load on Lambda. {'. '.join(found)}. Pin a version in requirements.txt that asks for less, "
            "or add the library to layers/native_libraries.py"
        )


if __name__ == "__main__":
    main()
