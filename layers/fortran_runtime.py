"""Compiles the library that stands for GNU Fortran's runtime in a layer: MXNet's OpenBLAS calls four functions of its hundreds.

x86_64 only: on arm64 MXNet brings no OpenBLAS, and libmxnet asks for another version of that runtime.
"""

from __future__ import annotations

from pathlib import Path

from layers import compiler

SOURCE = Path(__file__).with_name("fortran_runtime.c")
NAME = "libgfortran.so.3"
# As MXNet's OpenBLAS asks for them.
VERSION = "GFORTRAN_1.0"
FUNCTIONS = ("_gfortran_compare_string", "_gfortran_concat_string", "_gfortran_etime", "_gfortran_pow_i4_i4")


def versions() -> str:
    """The linker's script."""
    return f"{VERSION} {{ global: {'; '.join(FUNCTIONS)}; local: *; }};\n"


def compile_runtime(zig: Path, folder: Path) -> Path:
    """Compile it into the folder, and return where it is."""
    library = folder / NAME
    compiler.compile_library(zig, compiler.Library(library, SOURCE, "x86_64", versions=versions()))
    return library
