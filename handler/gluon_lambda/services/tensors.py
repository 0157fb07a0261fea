"""From JSON values and ``.npy`` files to the arrays that a net takes.

**The batch axis** is the first dimension where it is declared as 0 or 1, otherwise the first that is declared as 0 (a recurrent
state's is [layers, 0, size]). A value with as many dimensions as declared is a batch; one without the batch axis is a single
example, and gets the axis here. An answer has the batch axis exactly if the request had it.
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
        if holds_text(value):
            # NumPy would give every element the room of the longest text: terabytes for a request of some.
            raise InputMismatch(f"Input {declared.name!r} is {kind_of(value)} with text; {expected(declared)}")
        array = np.array(value)
    except (ValueError, RecursionError) as error:
        raise InputMismatch(
            f"Input {declared.name!r} is ragged: its lists differ in length or depth; {expected(declared)}"
        ) from error
    return cast(array, declared, came=kind_of(value))


def holds_text(value: Any) -> bool:
    """Whether there is a text in nested lists."""
    if not isinstance(value, list):
        return isinstance(value, str)
    kinds = set(map(type, value))
    return str in kinds or (list in kinds and any(map(holds_text, value)))


def from_npy(raw: bytes, declared: InputDeclaration) -> Array:
    """The array in a ``.npy`` file, as NumPy's format documentation has it; pickles are not read.

    Raises:
        MalformedBody: It is no such file, is cut off, or holds Python objects.
        InputMismatch: It holds what the input does not take.
    """
    if not raw.startswith(NPY_MAGIC):  # np.load would try zip and pickle
        raise MalformedBody(f"Input {declared.name!r} is no .npy file: it does not start as numpy.save writes it.")
    from tokenize import (
        TokenError,
    )  # lazy: .npy bodies are rare; numpy.load parses a garbled header as old Python source

    try:
        array = np.load(BytesIO(raw), allow_pickle=False)
    except (ValueError, TypeError, EOFError, OSError, SyntaxError, KeyError, MemoryError, TokenError) as error:
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


def batch_axis(shape: tuple[int, ...]) -> int | None:
    """Which dimension of a declared shape is the batch; None where all of it is fixed."""
    if shape[:1] == (1,):
        return 0
    return shape.index(0) if 0 in shape else None


def is_batch(array: Array, declared: InputDeclaration) -> bool:
    """Whether ``array`` has the batch axis.

    Raises:
        InputMismatch: Its shape is neither that of a batch nor that of a single example.
    """
    if _fits(array.shape, declared.shape):
        return True
    single = single_shape(declared.shape)
    if single is not None and _fits(array.shape, single):
        return False
    raise InputMismatch(f"Input {declared.name!r} came with shape {list(array.shape)}; {expected(declared)}")


def single_shape(shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """The shape of one example; None where there is no batch axis to leave out."""
    axis = batch_axis(shape)
    return None if axis is None else shape[:axis] + shape[axis + 1 :]


def smallest_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The declared shape with a batch of one; 0 where a size stays open."""
    axis = batch_axis(shape)
    return shape if axis is None else (*shape[:axis], 1, *shape[axis + 1 :])


def expected(declared: InputDeclaration) -> str:
    """What the input takes, for messages."""
    single = single_shape(declared.shape)
    example = "" if single is None else f", or one example of shape {_shown(single)}"
    return f"expected: {declared.dtype} numbers of shape {_shown(declared.shape)}{example}."


def _shown(shape: tuple[int, ...]) -> str:
    return "[" + ", ".join(str(size or "any") for size in shape) + "]"


def _fits(shape: tuple[int, ...], declared: tuple[int, ...]) -> bool:
    return len(shape) == len(declared) and all(
        size and want in (0, size) for size, want in zip(shape, declared, strict=True)
    )
