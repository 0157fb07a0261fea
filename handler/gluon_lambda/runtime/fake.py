"""A predictor without an engine, of the same interface as the real ones: for tests of everything that surrounds a net.

The contract suite in tests/contract/test_predictors.py runs over this one too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from gluon_lambda.errors import InputMismatch
from gluon_lambda.types import TensorSpec

if TYPE_CHECKING:
    from gluon_lambda.types import Array


class FakePredictor:
    """Answers with what ``compute`` makes of the inputs, and remembers what it was asked."""

    def __init__(self, inputs: Sequence[TensorSpec], compute: Callable[[Mapping[str, Array]], list[Array]]) -> None:
        """Take the inputs' specs and the function that stands for the net."""
        self._inputs = tuple(inputs)
        self._compute = compute
        self.asked: list[dict[str, Array]] = []
        self.closed = False

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What the net takes."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Nothing: a fake knows only what it is asked."""
        return ()

    def predict(self, arrays: Mapping[str, Array]) -> list[Array]:
        """Check the inputs as a real predictor does, and compute."""
        for spec in self._inputs:
            _check(spec, arrays)
        unknown = arrays.keys() - {spec.name for spec in self._inputs}
        if unknown:
            raise InputMismatch(f"There is no input {', '.join(sorted(unknown))}")
        self.asked.append(dict(arrays))
        return self._compute({spec.name: arrays[spec.name].astype(spec.dtype) for spec in self._inputs})

    def close(self) -> None:
        """Remember that it was closed."""
        self.closed = True


def _check(spec: TensorSpec, arrays: Mapping[str, Array]) -> None:
    import numpy as np

    array = arrays.get(spec.name)
    if array is None:
        raise InputMismatch(f"Input {spec.name!r} is missing")
    sizes = zip(array.shape, spec.shape, strict=False)
    if len(array.shape) != len(spec.shape) or 0 in array.shape or any(want not in (0, size) for size, want in sizes):
        raise InputMismatch(f"Input {spec.name!r} has shape {array.shape}; it takes {spec.shape}")
    if not np.can_cast(array.dtype, spec.dtype, casting="same_kind"):
        raise InputMismatch(f"Input {spec.name!r} is {array.dtype}; it takes {spec.dtype}")
