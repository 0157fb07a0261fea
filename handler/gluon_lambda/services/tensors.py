"""From JSON values and ``.npy`` files to the arrays that a net takes.

**The batch axis.** The first dimension of a declared shape is the batch. A value with as many dimensions as declared is a batch;
one with one dimension less is a single example, and gets its axis here. An answer has the batch axis exactly if the request had it.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from gluon_lambda.errors import InputMismatch, MalformedBody
from gluon_lambda.services.inputs import kind_of

if TYPE_CHECKING:
    from gluon_lambda.archive_store.signature import InputDeclaration
    from gluon_lambda.types import Array

NPY_TYPE = "application/x-npy"
NPY_MAGIC = b"\x93NUMPY"


def from_json(value: Any, declared: InputDeclaration) -> Array:
    """A nested list of numbers as an array.

    Args:
        value: A number, or lists of lists of numbers, all of one length in each dimension.
        declared: The input, for type and messages.

    Returns:
        An array of the declared dtype; its shape is the value's own.

    Raises:
        InputMismatch: Ragged, not numbers, not finite, or beyond what the dtype holds.
    """
    try:
        array = np.array(value)
    except (ValueError, RecursionError) as error:
        raise InputMismatch(
            f"Input {declared.name!r} is ragged: its lists differ in length or depth; {expected(declared)}"
        ) from error
    return cast(array, declared, came=kind_of(value))


def from_npy(raw: bytes, declared: InputDeclaration) -> Array:
    """The array in a ``.npy`` file, as NumPy's format documentation has it; pickles are not read.

    Raises:
        MalformedBody: It is no such file, is cut off, or holds Python objects.
        InputMismatch: It holds what the input does not take.
    """
    if not raw.startswith(NPY_MAGIC):  # np.load would try zip and pickle
        raise MalformedBody(f"Input {declared.name!r} is no .npy file: it does not start as numpy.save writes it.")
    try:
        array = np.load(BytesIO(raw), allow_pickle=False)
    except (ValueError, EOFError, OSError, SyntaxError, MemoryError) as error:  # whatever its header makes of NumPy
        raise MalformedBody(f"Input {declared.name!r} is no readable .npy file: {error}") from error
    return cast(array, declared, came="an array")


def cast(array: Array, declared: InputDeclaration, *, came: str) -> Array:
    """``array`` in the declared dtype, with every value kept.

    Raises:
        InputMismatch: A value is no number, not finite, or not one that the dtype holds.
    """
    wanted = np.dtype(declared.dtype)
    if array.dtype.kind == "O":
        raise InputMismatch(
            f"Input {declared.name!r} holds null, objects or whole numbers beyond 64 bits; {expected(declared)}"
        )
    if array.dtype.kind not in "iufb" or (array.dtype.kind == "b") != (wanted.kind == "b"):
        content = "text" if array.dtype.kind in "US" else f"{array.dtype} values"
        raise InputMismatch(f"Input {declared.name!r} is {came} with {content}; {expected(declared)}")
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is found below
        held = array.astype(wanted)
    if wanted.kind == "f":
        _refuse(~np.isfinite(held), array, declared, "which is not finite")
    elif wanted.kind in "iu":
        _refuse(np.not_equal(held, array), array, declared, "which it cannot hold")
    return held


def _refuse(wrong: Array, array: Array, declared: InputDeclaration, why: str) -> None:
    if wrong.any():
        first = array[wrong][0] if array.ndim else array
        raise InputMismatch(f"Input {declared.name!r} ({declared.dtype}) holds {first}, {why}; {expected(declared)}")


def is_batch(array: Array, declared: InputDeclaration) -> bool:
    """Whether ``array`` has the batch axis.

    Raises:
        InputMismatch: Its shape is neither that of a batch nor that of a single example.
    """
    if _fits(array.shape, declared.shape):
        return True
    if declared.shape[:1] in ((0,), (1,)) and _fits(array.shape, declared.shape[1:]):
        return False
    raise InputMismatch(f"Input {declared.name!r} came with shape {list(array.shape)}; {expected(declared)}")


def expected(declared: InputDeclaration) -> str:
    """What the input takes, for messages."""
    single = f", or one example of shape {_shown(declared.shape[1:])}" if declared.shape[:1] in ((0,), (1,)) else ""
    return f"expected: {declared.dtype} numbers of shape {_shown(declared.shape)}{single}."


def _shown(shape: tuple[int, ...]) -> str:
    return "[" + ", ".join(str(size or "any") for size in shape) + "]"


def _fits(shape: tuple[int, ...], declared: tuple[int, ...]) -> bool:
    return len(shape) == len(declared) and all(
        size and want in (0, size) for size, want in zip(shape, declared, strict=True)
    )
