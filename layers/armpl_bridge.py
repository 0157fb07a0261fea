"""Compiles the libraries that MXNet's wheel for aarch64 needs and no wheel brings: Arm Performance Libraries' names, with NumPy's OpenBLAS behind.

docs/decisions/0011-arm64-on-numpys-openblas.md says why. What counts in the argument lists is which arguments are integers: MXNet's have 32 bits,
those of NumPy's OpenBLAS 64. The C text is written here from the lists, around layers/armpl_bridge.c.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from layers import compiler, elf

SOURCE = Path(__file__).with_name("armpl_bridge.c")
EMPTY = Path(__file__).with_name("nothing.c")

# Fortran's libraries, MXNet's and NumPy's, ask for libz and take nothing from it. libmxnet holds a zlib of its own and exports it: a libz that comes
# along with libmxnet, before anybody else has loaded one, gets half of libmxnet's functions in the place of its own, and Pillow reads no PNG.
LIBZ, ASKING_FOR_LIBZ = "libz.so.1", ("mxnet/libgfortran.so.*", "numpy.libs/libgfortran-*.so.*")

# What libmxnet.so's DT_NEEDED names.
BLAS = "libarmpl_lp64_mp.so"
# Arm's versions of GLIBC's mathematical and string functions, which libmxnet takes by GLIBC's names: GLIBC's own are taken where these have none.
WITHOUT_FUNCTIONS = ("libamath.so", "libastring.so")


class Integers(NamedTuple):
    """An array of integers among a routine's arguments.

    Attributes:
        name: The argument's.
        length: How many, as a C expression of dimensions.
        is_read: Whether the routine reads what the caller has put there.
        is_written: Whether the caller reads what the routine has put there.
    """

    name: str
    length: str
    is_read: bool = False
    is_written: bool = False


class Routine(NamedTuple):
    """A routine's argument list.

    Attributes:
        name: Without the letter of the type.
        types: The letters of the types that MXNet calls it with.
        arguments: Their names in the interface's documentation, in order.
        integers: Those of them that are arrays of integers.
    """

    name: str
    types: str
    arguments: str
    integers: tuple[Integers, ...] = ()


# BLAS Technical Forum Standard, appendix B (C interface).
CBLAS = (
    Routine("axpy", "s", "n alpha x incx y incy"),
    Routine("dot", "sd", "n x incx y incy"),
    Routine("ger", "sd", "order m n alpha x incx y incy a lda"),
    Routine("gemm", "sdcz", "order transa transb m n k alpha a lda b ldb beta c ldc"),
    Routine("syrk", "sd", "order uplo trans n k alpha a lda beta c ldc"),
    Routine("trmm", "sd", "order side uplo transa diag m n alpha a lda b ldb"),
    Routine("trsm", "sd", "order side uplo transa diag m n alpha a lda b ldb"),
)

_PIVOTS_OUT = Integers("ipiv", "n", is_written=True)
_PIVOTS_IN = Integers("ipiv", "n", is_read=True)
_PIVOTS_OF_LU = Integers("ipiv", "least(m, n)", is_written=True)

# LAPACKE 3.9: LAPACKE/src/lapacke_dgesv.c and so on.
LAPACKE = (
    Routine("geev", "sd", "layout jobvl jobvr n a lda wr wi vl ldvl vr ldvr"),
    Routine("gelqf", "sd", "layout m n a lda tau"),
    Routine("gesdd", "sd", "layout jobz m n a lda s u ldu vt ldvt"),
    Routine("gesv", "sd", "layout n nrhs a lda ipiv b ldb", (_PIVOTS_OUT,)),
    Routine("gesvd", "sd", "layout jobu jobvt m n a lda s u ldu vt ldvt superb"),
    Routine("getrf", "sd", "layout m n a lda ipiv", (_PIVOTS_OF_LU,)),
    Routine("getri", "sd", "layout n a lda ipiv", (_PIVOTS_IN,)),
    Routine("orglq", "sd", "layout m n k a lda tau"),
    Routine("potrf", "sd", "layout uplo n a lda"),
    Routine("potri", "sd", "layout uplo n a lda"),
    Routine("syevd", "sd", "layout jobz uplo n a lda w"),
)

# LAPACK 3.9: SRC/dgels.f and so on. OpenCV, which libmxnet holds, calls these.
FORTRAN = (
    Routine("gels", "sd", "trans m n nrhs a lda b ldb work lwork info"),
    Routine("geqrf", "sd", "m n a lda tau work lwork info"),
    Routine(
        "gesdd",
        "sd",
        "jobz m n a lda s u ldu vt ldvt work lwork iwork info",
        (Integers("iwork", "8 * least(m, n)"),),  # LAPACK's own to work in
    ),
    Routine("gesv", "sd", "n nrhs a lda ipiv b ldb info", (_PIVOTS_OUT,)),
    Routine("getrf", "sd", "m n a lda ipiv info", (_PIVOTS_OF_LU,)),
    Routine("posv", "sd", "uplo n nrhs a lda b ldb info"),
    Routine("potrf", "sd", "uplo n a lda info"),
)

_DIMENSIONS = frozenset(
    {"m", "n", "k", "nrhs", "lda", "ldb", "ldc", "ldu", "ldvt", "ldvl", "ldvr", "incx", "incy", "lwork"}
)
_ENUMERATIONS = frozenset({"order", "layout", "transa", "transb", "trans", "side", "uplo", "diag"})
_LETTERS = frozenset({"uplo", "trans", "jobz", "jobu", "jobvt", "jobvl", "jobvr"})
_SCALARS = frozenset({"alpha", "beta"})


def functions() -> set[str]:
    """The names that the library exports."""
    kinds = (("cblas_", CBLAS, ""), ("LAPACKE_", LAPACKE, ""), ("", FORTRAN, "_"))
    return {
        f"{before}{letter}{routine.name}{after}"
        for before, routines, after in kinds
        for routine in routines
        for letter in routine.types
    }


def text() -> str:
    """The C text of all functions."""
    kinds = ((cblas, CBLAS), (lapacke, LAPACKE), (fortran, FORTRAN))
    return "\n".join(
        write(letter, routine) for write, routines in kinds for routine in routines for letter in routine.types
    )


def cblas(letter: str, routine: Routine) -> str:
    """One CBLAS function: integers by value, scalars by value where they are real."""
    name, names = f"cblas_{letter}{routine.name}", routine.arguments.split()
    result = letter if routine.name == "dot" else "void"
    fixed = dict.fromkeys(_ENUMERATIONS, "int ") | dict.fromkeys(
        _SCALARS, f"{letter} " if letter in "sd" else "const void *"
    )
    given, theirs = (parameters(names, fixed | dict.fromkeys(_DIMENSIONS, f"{kind} ")) for kind in ("narrow", "wide"))
    return "\n".join(
        [
            f"extern {result} THEIRS({name})({theirs});",
            f"EXPORTED {result} {name}({given}) {{ {'' if result == 'void' else 'return '}THEIRS({name})({', '.join(names)}); }}\n",
        ]
    )


def lapacke(letter: str, routine: Routine) -> str:
    """One LAPACKE function: integers and letters by value, info is returned."""
    name, names = f"LAPACKE_{letter}{routine.name}", routine.arguments.split()
    arrays = [each.name for each in routine.integers]
    fixed = {"layout": "int "} | dict.fromkeys(_LETTERS, "char ")
    given, theirs = (
        parameters(names, fixed | dict.fromkeys(_DIMENSIONS, f"{kind} ") | dict.fromkeys(arrays, f"{kind} *"))
        for kind in ("narrow", "wide")
    )
    return "\n".join(
        [
            f"extern wide THEIRS({name})({theirs});",
            f"EXPORTED narrow {name}({given}) {{",
            *(f"  {line}" for each in routine.integers for line in before(each, each.length, "return NO_MEMORY;")),
            f"  wide info_ = THEIRS({name})({', '.join(own(names, arrays))});",
            *(f"  {line}" for each in routine.integers for line in after(each, each.length)),
            "  return (narrow)info_;",
            "}\n",
        ]
    )


def fortran(letter: str, routine: Routine) -> str:
    """One LAPACK function: everything by pointer, with copies of all integers."""
    name, names = f"{letter}{routine.name}_", routine.arguments.split()
    numbers = [each for each in names if each in _DIMENSIONS | {"info"}]
    arrays = [each.name for each in routine.integers]
    letters = [each for each in names if each in _LETTERS]
    given, theirs = (
        parameters(names, dict.fromkeys([*numbers, *arrays], f"{kind} *") | dict.fromkeys(letters, "const char *"))
        for kind in ("narrow", "wide")
    )
    handed_over = [f"&{each}_" if each in numbers else each for each in own(names, arrays)]
    return "\n".join(
        [
            f"extern void THEIRS({name})({', '.join([theirs, *['size_t'] * len(letters)])});",
            f"EXPORTED void {name}({given}) {{",
            *(f"  wide {each}_ = {'0' if each == 'info' else '*' + each};" for each in numbers),
            *(f"  {line}" for each in routine.integers for line in before(each, *_by_pointer(each, names))),
            f"  THEIRS({name})({', '.join([*handed_over, *['one_letter'] * len(letters)])});",
            *(f"  {line}" for each in routine.integers for line in after(each, _by_pointer(each, names)[0])),
            "  *info = (narrow)info_;",
            "}\n",
        ]
    )


def parameters(names: Iterable[str], types: dict[str, str]) -> str:
    """A parameter list; what has no type of its own is an array that goes through untouched."""
    return ", ".join(types.get(each, "void *") + each for each in names)


def own(names: Iterable[str], arrays: Iterable[str]) -> list[str]:
    """The arguments with our copies of arrays of integers in the place of the caller's."""
    return [f"{each}_" if each in arrays else each for each in names]


def before(array: Integers, count: str, refused: str) -> Iterator[str]:
    """The lines that make our copy of an array, or refuse the call where there is no memory for it."""
    yield f"wide *{array.name}_ = room({count});"
    yield f"if (!{array.name}_) {refused}"
    if array.is_read:
        yield f"widen({array.name}_, {array.name}, {count});"


def after(array: Integers, count: str) -> Iterator[str]:
    """The lines that give back what was written into our copy. LAPACK writes nothing where it refuses an argument."""
    if array.is_written:
        yield f"if (info_ >= 0) narrow_down({array.name}, {array.name}_, {count});"
    elif not array.is_read:
        yield f"(void){array.name};"
    yield f"free({array.name}_);"


def _by_pointer(array: Integers, names: list[str]) -> tuple[str, str]:
    """For Fortran: the count, of our copies of the dimensions, and the refusal, by the argument's number."""
    count = re.sub(r"\b([mn])\b", r"\1_", array.length)
    return count, f"{{ *info = -{names.index(array.name) + 1}; return; }}"


def compile_bridge(zig: Path, folder: Path, openblas: Path, *, prefix: str) -> None:
    """Compile the library with the functions, and those without.

    Args:
        zig: The compiler.
        folder: That of libmxnet.so, which looks there first (DT_RPATH is $ORIGIN).
        openblas: NumPy's; at run time it is looked for where it lies from ``folder``.
        prefix: What NumPy puts in front of each function's name: nothing, or ``scipy_``.
    """
    defined = (f"-DPREFIX={prefix}",) if prefix else ()
    generated = {"functions.h": text()}
    # NumPy's OpenBLAS itself does not say where its Fortran library lies, beside it: NumPy's extension modules say it for both.
    library = compiler.Library(
        folder / BLAS, SOURCE, "aarch64", generated, defined, openblas.absolute(), hands_down=True
    )
    compiler.compile_library(zig, library)
    for name in WITHOUT_FUNCTIONS:
        compiler.compile_library(zig, compiler.Library(folder / name, EMPTY, "aarch64"))


def leave_libz_alone(python: Path) -> None:
    """See to it that libmxnet brings no libz along.

    Args:
        python: The layer's folder of packages.
    """
    for path in (path for pattern in ASKING_FOR_LIBZ for path in python.glob(pattern)):
        path.write_bytes(elf.without_needed(path.read_bytes(), LIBZ))
