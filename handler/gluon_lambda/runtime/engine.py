"""The MXNet engine as the rest of the handler gets it: an opened library that is asked for predictors."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext

from gluon_lambda.runtime.libmxnet import Library, find_libmxnet
from gluon_lambda.runtime.native_predictor import NativePredictor
from gluon_lambda.runtime.openmp import regions_of_one
from gluon_lambda.types import NetOptions, TensorSpec

# Notes how long the body takes, under a phase's name.
Timed = Callable[[str], AbstractContextManager[None]]


def _untimed(_phase: str) -> AbstractContextManager[None]:
    return nullcontext()


class Engine:
    """An opened libmxnet; calling it builds a predictor (``types.PredictorFactory``)."""

    def __init__(
        self,
        library: Library,
        options: NetOptions = NetOptions(),  # noqa: B008  an immutable record
        *,
        timed: Timed = _untimed,
        shares_cpus: Callable[[], bool] = lambda: False,
    ) -> None:
        """Wrap an opened library.

        Args:
            library: The library.
            options: How nets are made ready.
            timed: Told how long that takes.
            shares_cpus: Whether another thread is computing, too, so that a net's first run should keep to one CPU.
        """
        self.library = library
        self._options = options
        self._timed = timed
        self._shares_cpus = shares_cpus

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
        with self._timed("parameters"):
            predictor = NativePredictor(
                self.library, self._options, name=name, symbol=symbol, params=params, inputs=inputs
            )
        with ExitStack() as on_failure, self._timed("warm-up"):
            on_failure.callback(predictor.close)
            with regions_of_one() if self._keeps_to_one_cpu(predictor) else nullcontext():
                predictor.warm_up()
            on_failure.pop_all()
        return predictor

    def _keeps_to_one_cpu(self, predictor: NativePredictor) -> bool:
        """Whether a net's first run has regions of one thread: it must not reach OpenBLAS, which would wait in them for the others for ever."""
        uses_onednn = os.environ.get("MXNET_MKLDNN_ENABLED", "1") == "1"
        return self._shares_cpus() and uses_onednn and predictor.does_without_openblas
