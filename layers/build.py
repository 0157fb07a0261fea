"""Builds the Lambda layer: what requirements.txt pins, trimmed, with one OpenBLAS, with bytecode, the same bytes each time.

    python -m layers.build --python 3.12 --out FOLDER

FOLDER becomes /opt: ``python/`` and ``lib/``. Its zip, the function's folder and zip, and a report go to build/layers/3.12/. Any Linux on
x86_64 does, without Docker and without root; docs/layers.md explains each step.
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from layers import (
    bytecode,
    closure,
    compiler,
    elf,
    function,
    native_libraries,
    openblas_bridge,
    packing,
    removals,
    report,
    sizes,
    wheels,
)
from layers.images import IMAGES
from layers.targets import Target, target

ROOT = Path(__file__).parent.parent
REQUIREMENTS = ROOT / "requirements.txt"
BUILD = ROOT / "build"
NATIVE_LIBRARIES = ("libgomp.so.1", "libquadmath.so.0")


class Options(NamedTuple):
    """How to build.

    Attributes:
        target: For what.
        out: Where the layer goes.
        kept: Where zips, function and report go.
        python: The interpreter that compiles bytecode; None for none.
        alone: Whether bytecode takes the source's place.
        budgets: What may not be exceeded.
    """

    target: Target
    out: Path
    kept: Path
    python: str | None
    alone: bool = False
    budgets: sizes.Budgets = sizes.Budgets()


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    options = read(arguments)
    print(report.summary(build(options)), flush=True)
    if options.python is None:
        print(f"Without bytecode {bytecode.MEASURED_COST}")


def read(arguments: list[str] | None, environ: Mapping[str, str] = os.environ) -> Options:
    """The options of a command line.

    Raises:
        SystemExit: They ask for what cannot be built.
    """
    parser = argparse.ArgumentParser(prog="python -m layers.build", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--python", required=True, metavar="VERSION", help=f"one of {', '.join(IMAGES)}")
    parser.add_argument("--architecture", default="x86_64", help="x86_64")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where to; default: build/layers/VERSION/layer")
    shipped = parser.add_mutually_exclusive_group()
    shipped.add_argument(
        "--no-bytecode", action="store_true", help="go without bytecode; every cold start compiles anew"
    )
    shipped.add_argument(
        "--no-source", action="store_true", help="ship bytecode alone: smaller, but tracebacks show no lines"
    )
    given = parser.parse_args(arguments)
    chosen = target(given.python, given.architecture)
    kept = BUILD / "layers" / chosen.python
    python = None if given.no_bytecode else bytecode.python_for(chosen.python, environ)
    return Options(chosen, given.out or kept / "layer", kept, python, alone=given.no_source)


def build(options: Options) -> report.Report:
    """Build layer and function, pack both, and write the report.

    Raises:
        SystemExit: Something is missing, or too large; says what, and what to do.
    """
    function.empty(options.out)
    function.empty(options.kept / "function")
    fetched = wheels.fetch(
        wheels.requirements(REQUIREMENTS.read_text(), options.target),
        options.target,
        BUILD / "wheels" / options.target.python,
    )
    zig = compiler.zig(BUILD / "tools")
    owners = fill(options.out, fetched)
    unpacked = sizes.total(options.out)
    removed = removals.remove(options.out / "python")
    bridge_openblas(zig, options.out / "python", removed)
    trimmed = sizes.total(options.out)
    # Not sooner: what the linker reads goes, too.
    cut_libraries(options.out)
    cut = sizes.total(options.out)
    if options.python:
        bytecode.compile_folder(options.python, options.out / "python", "/opt/python", alone=options.alone)
    packing.settle(options.out)
    function.make(options.kept / "function", options.python, alone=options.alone)
    measured = pack(options, unpacked=unpacked, trimmed=trimmed, cut=cut)
    made = report.Report(
        options.target, options.python, measured, sizes.by_package(options.out, owners), removed, fetched
    )
    report.write(made, options.kept)
    refuse_open_ends(options)
    sizes.refuse_excess(measured, options.budgets, made.packages)
    return made


def fill(out: Path, fetched: list[Path]) -> dict[str, str]:
    """Unpack the wheels and put the native libraries beside them.

    Returns:
        The package that each top-level name belongs to.
    """
    owners: dict[str, str] = {}
    for wheel in fetched:
        package = wheel.name.partition("-")[0].lower().replace("_", "-")
        owners |= {sizes.top_level(path): package for path in wheels.unpack(wheel, out / "python")}
    native_libraries.main(BUILD / "lib")
    (out / "lib").mkdir()
    for name in NATIVE_LIBRARIES:
        shutil.copyfile(BUILD / "lib" / name, out / "lib" / name)
    shutil.copyfile(Path(__file__).with_name("NOTICE.md"), out / "lib" / "NOTICE.md")
    return owners


def cut_libraries(out: Path) -> None:
    """Cut out of every shared library what the loader does not read."""
    for path in packing.files(out):
        if ".so" in path.name and elf.is_elf(path):
            path.write_bytes(elf.cut_unloaded(path.read_bytes()))


def bridge_openblas(zig: Path, python: Path, removed: list[removals.Removed]) -> None:
    """Put a library under the name of the OpenBLAS that was removed, which hands NumPy's calls to MXNet's."""
    name = next(Path(each.path).name for each in removed if "openblas" in Path(each.path).name)
    prefix = "scipy_" if "scipy" in name else ""
    (python / "numpy.libs").mkdir()
    openblas_bridge.compile_bridge(
        zig, python / "numpy.libs" / name, python / "mxnet" / "libopenblas.so.0", prefix=prefix
    )


def refuse_open_ends(options: Options) -> None:
    """Stop where a library would not load on Lambda.

    Raises:
        SystemExit: Names each library that lacks one, and what it lacks.
    """
    place = closure.Place(options.target.image, options.out / "lib")
    found = closure.open_ends([options.out, options.kept / "function"], place)
    if found:
        raise SystemExit(
            f"The layer would not load on Lambda. {'. '.join(found)}. Pin a version in requirements.txt that asks for less, "
            "or add the library to layers/native_libraries.py"
        )


def pack(options: Options, *, unpacked: int, trimmed: int, cut: int) -> sizes.Sizes:
    """Write both zips, and measure all."""
    layer, made = options.out, options.kept / "function"
    layer_zip, function_zip = options.kept / "layer.zip", options.kept / "function.zip"
    packing.pack(layer, layer_zip)
    packing.pack(made, function_zip)
    bytecode_size = sizes.total_of(layer, ".pyc") + sizes.total_of(made, ".pyc")
    beside = 0 if options.alone or not bytecode_size else sizes.total_of(layer, ".py") + sizes.total_of(made, ".py")
    return sizes.Sizes(
        *(unpacked, trimmed, cut, sizes.total(layer), sizes.total(made), beside, bytecode_size),
        *(layer_zip.stat().st_size, function_zip.stat().st_size),
    )


if __name__ == "__main__":
    main()
