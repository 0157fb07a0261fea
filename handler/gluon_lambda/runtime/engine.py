"""The MXNet engine as the rest of the handler gets it: opened once, then asked for predictors."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from gluon_lambda.runtime.libmxnet import Library, find_libmxnet
from gluon_lambda.runtime.native_predictor import NativePredictor
from gluon_lambda.types import TensorSpec


class Engine:
    """An opened libmxnet; calling it builds a predictor (``types.PredictorFactory``)."""

    def __init__(self, library: Library) -> None:
        """Wrap an opened library."""
        self.library = library

    @classmethod
    def open(cls) -> Engine:
        """Open the installed libmxnet. Set the engine's environment first.

        Raises:
            EngineUnavailable: It is absent, or a library that it needs is.
        """
        return cls(Library(find_libmxnet()))

    def __call__(
        self, *, name: str, symbol: bytes, params: bytes | memoryview, inputs: Sequence[TensorSpec]
    ) -> NativePredictor:
        """Load an exported net and run it once; see ``types.PredictorFactory``."""
        predictor = NativePredictor(self.library, name=name, symbol=symbol, params=params, inputs=inputs)
        with ExitStack() as on_failure:
            on_failure.callback(predictor.close)
            predictor.warm_up()
            on_failure.pop_all()
        return predictor
