"""What must not happen over many invocations."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from gluon_lambda.bootstrap import create_handler
from gluon_lambda.types import TensorSpec
from tests.conftest import FakeContext
from tests.events.gateways import GATEWAYS
from tests.unit.test_handler import POST_IMAGE

if TYPE_CHECKING:
    from gluon_lambda.types import Array

pytestmark = pytest.mark.usefixtures("restored_process")


class Instant:
    """A predictor that answers at once and keeps nothing (``types.Predictor``)."""

    outputs: tuple[TensorSpec, ...] = ()

    def __init__(self, inputs: Sequence[TensorSpec]) -> None:
        self.inputs = tuple(inputs)

    def predict(self, arrays: Mapping[str, Array]) -> list[Array]:
        return [np.ones((1, 4), np.float32)]

    def close(self) -> None:
        pass


def make_instant(*, inputs: Sequence[TensorSpec], **_net: Any) -> Instant:
    return Instant(inputs)


def test_nothing_is_kept_of_an_invocation(tmp_path: Path, image_archive: Path) -> None:
    environ = {"GLUON_CACHE_DIR": str(tmp_path), "GLUON_MODELS": f"small={image_archive}"}
    handler = create_handler(environ, make_instant)
    event = GATEWAYS["http_api_2_0"](POST_IMAGE)

    def held_after(invocations: int) -> int:
        for _ in range(invocations):
            assert handler(event, FakeContext())["statusCode"] == 200
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = held_after(100)
        after = held_after(2000)
    finally:
        tracemalloc.stop()
    assert after - before < 30_000  # 15 bytes an invocation; the tests' own output is kept, too
