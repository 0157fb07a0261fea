"""Compiles the library that answers NumPy's calls of its own OpenBLAS with MXNet's, so that the layer needs one of the two only.

docs/decisions/0008-one-openblas.md says why. The BLAS part is layers/openblas_bridge.c; the LAPACK part is written here from LAPACK's argument
lists, since all that counts in them is which arguments are integers: everything is handed over by pointer.

x86_64 only: on arm64 MXNet brings no OpenBLAS, and calls NumPy's (layers/armpl_bridge.py).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from layers import compiler

SOURCE = Path(__file__).with_name("openblas_bridge.c")


class Routine(NamedTuple):
    """A LAPACK routine's Fortran interface.

    Attributes:
        name: Without the letter of the type.
        types: The letters of the types that NumPy calls it with.
        arguments: LAPACK's names for them, in order. An array of integers that the caller reads afterwards is followed by how many of them, as a
            C expression: ``ipiv[n]``. Of iwork that is the first one, which a query (lwork = -1) sets to the length that is wanted.
        scales_with: The argument that a query's answer is proportional to, if it is one: a query for what 32 bits do not hold is then answered, too,
            as NumPy's tests ask for it.
    """

    name: str
    types: str
    arguments: str
    scales_with: str | None = None


# LAPACK 3.9.0, which OpenBLAS 0.3.13 holds: SRC/*gesv.f and so on.
ROUTINES = (
    Routine("gesv", "sdcz", "n nrhs a lda ipiv[n] b ldb info"),
    Routine("getrf", "sdcz", "m n a lda ipiv[m<n?m:n] info"),
    Routine("potrf", "sdcz", "uplo n a lda info"),
    Routine("geqrf", "dz", "m n a lda tau work lwork info", scales_with="n"),
    Routine("orgqr", "d", "m n k a lda tau work lwork info"),
    Routine("ungqr", "z", "m n k a lda tau work lwork info"),
    Routine("gelsd", "sd", "m n nrhs a lda b ldb s rcond rank work lwork iwork[1] info"),
    Routine("gelsd", "cz", "m n nrhs a lda b ldb s rcond rank work lwork rwork iwork[1] info"),
    Routine("gesdd", "sd", "jobz m n a lda s u ldu vt ldvt work lwork iwork info"),
    Routine("gesdd", "cz", "jobz m n a lda s u ldu vt ldvt work lwork rwork iwork info"),
    Routine("syevd", "sd", "jobz uplo n a lda w work lwork iwork[1] liwork info"),
    Routine("heevd", "cz", "jobz uplo n a lda w work lwork rwork lrwork iwork[1] liwork info"),
    Routine("geev", "sd", "jobvl jobvr n a lda wr wi vl ldvl vr ldvr work lwork info"),
    Routine("geev", "z", "jobvl jobvr n a lda w vl ldvl vr ldvr work lwork rwork info"),
)

_LETTERS = frozenset({"uplo", "jobz", "jobvl", "jobvr"})
_INTEGERS_IN = frozenset(
    {"m", "n", "k", "nrhs", "lda", "ldb", "ldu", "ldvt", "ldvl", "ldvr", "lwork", "lrwork", "liwork"}
)
_INTEGERS_OUT = frozenset({"rank", "info"})

# The C type of an argument of LAPACK's; everything else is an array that goes through untouched.
_NARROW_TYPES = dict.fromkeys(_LETTERS, "char *") | dict.fromkeys(_INTEGERS_IN | _INTEGERS_OUT, "narrow *")
_WIDE_TYPES = dict.fromkeys(_LETTERS, "char *") | dict.fromkeys(_INTEGERS_IN | _INTEGERS_OUT, "wide *")


def lapack_functions() -> str:
    """The C text of the LAPACK part."""
    return "\n".join(
        function(letter + routine.name, routine.arguments.split(), routine.scales_with)
        for routine in ROUTINES
        for letter in routine.types
    )


def function(name: str, arguments: list[str], scales_with: str | None) -> str:
    """One function in C: integers are narrowed, LAPACK is called, and what it wrote as integers is widened."""
    names = [argument.partition("[")[0] for argument in arguments]
    lengths = ["one_letter" for each in names if each in _LETTERS]
    return "\n".join(
        [
            f"extern void {name}_({', '.join([_NARROW_TYPES.get(each, 'void *') for each in names] + ['size_t'] * len(lengths))});",
            f"EXPORTED wide OURS({name}_)({', '.join(_WIDE_TYPES.get(each, 'void *') + each for each in names)}) {{",
            *([large_query(name, names, scales_with)] if scales_with else []),
            *(f"  NARROW({number}, {each});" for number, each in enumerate(names, 1) if each in _INTEGERS_IN),
            *(f"  narrow {each}_ = 0;" for each in names if each in _INTEGERS_OUT),
            f"  {name}_({', '.join([handed_over(each) for each in names] + lengths)});",
            *(f"  {widened(argument)};" for argument in arguments if "[" in argument),
            *(f"  *{each} = {each}_;" for each in names if each in _INTEGERS_OUT),
            "  return 0;",
            "}\n",
        ]
    )


def large_query(name: str, names: list[str], scales_with: str) -> str:
    """The statement that answers a query for large sizes: ask for 1, and multiply. The types are d and z; the length is the real part."""
    dimensions = [each for each in names if each in _INTEGERS_IN and each != "lwork"]
    asked = ", ".join("&one" if each in dimensions else each for each in names)
    fitting = " && ".join(f"fits(*{each})" for each in dimensions)
    return (
        f"  if (*lwork == -1 && !({fitting})) {{\n    wide one = 1;\n    OURS({name}_)({asked});\n"
        f"    *(double *)work *= *{scales_with};\n    return 0;\n  }}"
    )


def handed_over(name: str) -> str:
    """How an argument is given to LAPACK: an integer's narrow copy, or what the caller gave."""
    return f"&{name}_" if name in _INTEGERS_IN | _INTEGERS_OUT else name


def widened(argument: str) -> str:
    """The statement for ``ipiv[n]``. LAPACK writes nothing where it refuses an argument."""
    name, _, count = argument.rstrip("]").partition("[")
    pointed_at = re.sub("[a-z]", r"*\g<0>", count)
    return f"if (info_ >= 0) widen({name}, {pointed_at})"


def functions() -> set[str]:
    """The names that the library exports, without NumPy 2's prefix."""
    blas = {f"cblas_{letter}{name}64_" for letter in "sdcz" for name in ("axpy", "gemv", "gemm", "syrk")} | {
        f"cblas_{name}64_" for name in ("sdot", "ddot", "cdotu_sub", "cdotc_sub", "zdotu_sub", "zdotc_sub")
    }
    lapack = {f"{letter}{routine.name}_64_" for routine in ROUTINES for letter in routine.types}
    return blas | lapack | {f"{letter}copy_64_" for letter in "sdcz"}


def compile_bridge(zig: Path, library: Path, beside: Path, *, prefix: str, largest: int | None = None) -> None:
    """Compile the library.

    Args:
        zig: The compiler.
        library: Where to write it; its file name is what NumPy's extension modules ask the loader for.
        beside: MXNet's libopenblas.so.0; at run time it is looked for where it lies from ``library``.
        prefix: What NumPy puts in front of each function's name: nothing, or ``scipy_``.
        largest: The largest integer that is handed over; all that 32 bits hold where it is None.
    """
    defined = ([f"-DPREFIX={prefix}"] if prefix else []) + ([f"-DLARGEST={largest}"] if largest is not None else [])
    generated = {"lapack_functions.h": lapack_functions()}
    compiler.compile_library(
        zig, compiler.Library(library, SOURCE, "x86_64", generated, tuple(defined), beside.absolute())
    )
