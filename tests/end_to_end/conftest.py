"""One emulator with the example archives for all tests that need no other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.end_to_end.endpoint import Endpoint, serving
from tests.examples.conftest import built


@pytest.fixture(scope="session")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """The example archives, served as ``make run`` serves them."""
    archives = {
        "digits_lenet": built("digits_lenet", "digits_lenet.model"),
        "char_cnn": built("char_cnn", "char_cnn.model"),
        "char_cnn_native": built("char_cnn", "char_cnn_native.mar"),
    }
    models = [f"{name}={path}" for name, path in archives.items()]
    with serving(tmp_path_factory.mktemp("examples"), "--models", *models) as endpoint:
        yield endpoint
