"""The MXNet engine as the rest of the handler gets it: opened once, then asked for predictors."""

from __future__ import annotations

from collections.abc import Sequence

from gluon_lambda.errors import SignatureInvalid
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
        try:
            predictor.warm_up()
        except SignatureInvalid:
            predictor.close()
            raise
        return predictor
