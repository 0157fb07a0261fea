"""Requests to a net that takes numbers: nested lists in JSON, or ``.npy`` files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gluon_lambda.errors import InputMismatch, UnsupportedMediaType
from gluon_lambda.services import tensors
from gluon_lambda.services.inputs import Inputs, is_json, json_value, parts_by_input

if TYPE_CHECKING:
    from gluon_lambda.archive_store.signature import InputDeclaration
    from gluon_lambda.types import Array, Part, Payload

ACCEPTED = f"application/json, or {tensors.NPY_TYPE}"


def read_inputs(payload: Payload, inputs: tuple[InputDeclaration, ...], *, first_wins: bool) -> Inputs:
    """Each input's numbers as an array of the declared dtype and shape.

    Raises:
        RequestError: An input is missing, is not numbers, or does not fit; names it.
    """
    parts = parts_by_input(payload, [declared.name for declared in inputs], first_wins=first_wins)
    arrays = {declared.name: tensor(parts[declared.name], declared) for declared in inputs}
    singles = [declared for declared in inputs if not tensors.is_batch(arrays[declared.name], declared)]
    if not singles:
        return Inputs(arrays, _batch_size(arrays, inputs))
    if len(singles) < sum(tensors.batch_axis(declared.shape) is not None for declared in inputs):
        raise InputMismatch(
            f"Input {singles[0].name!r} is one example, and others are batches; give all of them the batch axis, or none."
        )
    return Inputs({**arrays, **{single.name: _as_batch(arrays[single.name], single) for single in singles}}, None)


def _as_batch(array: Array, declared: InputDeclaration) -> Array:
    axis = tensors.batch_axis(declared.shape) or 0
    return array.reshape(*array.shape[:axis], 1, *array.shape[axis:])


def _batch_size(arrays: dict[str, Array], inputs: tuple[InputDeclaration, ...]) -> int:
    axes = {declared.name: tensors.batch_axis(declared.shape) for declared in inputs}
    sizes = {name: arrays[name].shape[axis] for name, axis in axes.items() if axis is not None}
    if len(set(sizes.values())) > 1:
        listing = ", ".join(f"{name!r} has {size}" for name, size in sizes.items())
        raise InputMismatch(f"The inputs differ in their number of examples: {listing}.")
    return next(iter(sizes.values()), 1)


def tensor(part: Part, declared: InputDeclaration) -> Array:
    """The numbers in a part.

    Raises:
        UnsupportedMediaType: The part says that it is neither JSON nor ``.npy``.
        MalformedBody: It is not what it says.
        InputMismatch: It is not what the input takes.
    """
    if part.content_type == tensors.NPY_TYPE or (part.filename or "").endswith(".npy"):
        return tensors.from_npy(bytes(part.value), declared)
    # curl -F data=@numbers.json sends octet-stream where it does not know the ending.
    if not is_json(part) and part.content_type not in ("", "text/plain", "application/octet-stream"):
        raise UnsupportedMediaType(f"Input {declared.name!r} came as {part.content_type}; accepted: {ACCEPTED}.")
    return tensors.from_json(json_value(part), declared)
