"""Hooks of pytest's: what ``--junitxml`` says of the Python, NumPy and tree that tests run on. layers/versions.py reads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from _pytest.junitxml import xml_key

from layers.versions import facts


def pytest_collection_finish(session: pytest.Session) -> None:
    """Where this process runs the tests."""
    say(session.config, collected=len(session.items))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any, ids: Sequence[str]) -> None:
    """Where others run them: each has collected all, and this process writes the file."""
    say(node.config, collected=len(ids))


def say(config: pytest.Config, *, collected: int) -> None:
    """Put it into the file, where one is written; said again, it is the same."""
    written = config.stash.get(xml_key, None)
    if written is not None:
        for name, value in (facts() | {"collected": str(collected)}).items():
            written.add_global_property(name, value)
