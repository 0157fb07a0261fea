"""What is left out of a layer, and why. Data: tests/layer/test_removals.py shows for each rule that what remains works."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Rule(NamedTuple):
    """One thing to leave out.

    Attributes:
        name: For the report and its test.
        paths: Patterns below the layer's ``python`` folder, as ``Path.glob`` takes them; a folder goes with all that is in it.
        reason: Why nothing in Lambda misses it.
        only_on: The architecture whose layers it is for; None: every one.
    """

    name: str
    paths: tuple[str, ...]
    reason: str
    only_on: str | None = None


class Removed(NamedTuple):
    """One path that a rule matched.

    Attributes:
        path: Below ``python``; a folder's stands for all its files.
        size: Bytes.
        files: How many files.
        rule: The rule.
    """

    path: str
    size: int
    files: int
    rule: Rule


RULES = (
    Rule(
        "numpy-openblas",
        ("numpy.libs/*",),
        "NumPy's own OpenBLAS, with the Fortran libraries that only it needs; MXNet's does the same work (docs/decisions/0008-one-openblas.md)",
        # On arm64 it is the only one: MXNet's wheel brings none.
        only_on="x86_64",
    ),
    Rule(
        "numpy-tests",
        # Not _multiarray_tests: NumPy 1.26 documents one of its functions while it is imported.
        (
            *(
                "numpy/**/tests",
                "numpy/conftest.py",
                "numpy/*core/_operand_flag_tests.*.so",
                "numpy/*core/_rational_tests.*.so",
            ),
            *("numpy/*core/_struct_ufunc_tests.*.so", "numpy/*core/_umath_tests.*.so"),
        ),
        "NumPy's tests and the extension modules that only they use",
    ),
    Rule(
        "numpy-simd",
        ("numpy/*core/_simd.*.so",),
        "NumPy's vector instructions as Python functions, for its own tests; its operations have them compiled in",
    ),
    Rule(
        "numpy-building",
        (
            *("numpy/f2py", "numpy/distutils", "numpy/_pyinstaller", "numpy/random/_examples"),
            *("numpy/*core/include", "numpy/*core/lib", "numpy/random/lib"),
            *("numpy/**/*.pxd", "numpy/**/*.pyx"),
        ),
        "for compiling extension modules against NumPy; a function's folders are read-only, and its image has no compiler",
    ),
    Rule(
        "mxnet-fortran",
        ("mxnet/libgfortran.so.3",),
        "1.2 MB, and libquadmath beside it, of which MXNet's OpenBLAS calls four functions: a library of 4 KB has these (layers/fortran_runtime.c)",
        # On arm64 libmxnet asks for another version of it, and MXNet's wheel has no OpenBLAS.
        only_on="x86_64",
    ),
    Rule("mxnet-headers", ("mxnet/include", "mxnet/src"), "for compiling C++ against libmxnet"),
    Rule(
        "mxnet-tools",
        ("mxnet/tools", "dmlc_tracker"),
        "command-line programs for training on several machines and packing data sets",
    ),
    Rule(
        "pillow-avif",
        ("PIL/_avif.*.so", "pillow.libs/libavif-*"),
        "4.9 MB for one image format, which camera and web uploads to a classifier seldom have; Pillow says that it cannot identify such a file",
    ),
    Rule("type-stubs", ("**/*.pyi", "**/py.typed"), "for type checkers and editors"),
    Rule(
        "install-records",
        ("*.dist-info/RECORD",),
        "lists of installed files, which pip uninstalls by; they no longer hold",
    ),
)


def rules_for(architecture: str) -> tuple[Rule, ...]:
    """The rules that layers for an architecture follow."""
    return tuple(rule for rule in RULES if rule.only_on in (None, architecture))


def remove(folder: Path, rules: tuple[Rule, ...] = RULES) -> list[Removed]:
    """Remove from the folder what the rules match, in their order, and tell what went."""
    removed = [each for rule in rules for each in _apply(rule, folder)]
    _drop_empty_folders(folder)
    return removed


def _apply(rule: Rule, folder: Path) -> Iterator[Removed]:
    for path in sorted({match for pattern in rule.paths for match in folder.glob(pattern)}):
        if path.exists():  # not gone with a folder around it
            files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
            yield Removed(
                path.relative_to(folder).as_posix(), sum(file.stat().st_size for file in files), len(files), rule
            )
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _drop_empty_folders(folder: Path) -> None:
    for path in sorted((each for each in folder.rglob("*") if each.is_dir()), reverse=True):
        if not any(path.iterdir()):
            path.rmdir()
