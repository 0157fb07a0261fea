"""While libmxnet is being opened: extension modules wait, in whichever thread, and the rest is imported meanwhile."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Iterator
from importlib.machinery import ExtensionFileLoader
from pathlib import Path

import pytest

from gluon_lambda.pending import begin
from gluon_lambda.runtime.import_order import extensions_waiting


class Gate:
    """Waits as the opening of libmxnet would, and tells that somebody does."""

    def __init__(self) -> None:
        self.is_open = threading.Event()
        self.has_arrived = threading.Event()

    def wait(self) -> None:
        self.has_arrived.set()
        assert self.is_open.wait(60)


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.is_open.set()


@pytest.fixture
def extension(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of an extension module that is not loaded, one of Python's own under a path of its own."""
    import _queue

    assert _queue.__file__, "this Python has it built in"
    (tmp_path / Path(_queue.__file__).name).symlink_to(_queue.__file__)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "_queue")
    return "_queue"


@pytest.fixture
def pure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "a_pure_module.py").write_text("value = 42\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "a_pure_module", raising=False)
    return "a_pure_module"


def test_a_pure_module_is_imported_while_an_extension_module_waits(gate: Gate, extension: str, pure: str) -> None:
    with extensions_waiting(gate.wait):
        waiting = begin("imports", importlib.import_module, extension)
        assert gate.has_arrived.wait(60)
        assert importlib.import_module(pure).value == 42
        assert extension not in sys.modules
        assert not waiting.wait(0)
        gate.is_open.set()
        module = waiting.result()
    assert module is sys.modules[extension]
    assert module.__spec__
    assert type(module.__loader__) is type(module.__spec__.loader) is ExtensionFileLoader


def test_what_is_loaded_already_waits_for_nothing(gate: Gate) -> None:
    with extensions_waiting(gate.wait):
        assert importlib.import_module("_queue") is sys.modules["_queue"]
    assert not gate.has_arrived.is_set()


def test_a_module_that_does_not_exist_is_missing_as_ever(gate: Gate) -> None:
    with extensions_waiting(gate.wait), pytest.raises(ModuleNotFoundError, match="no_such_module"):
        importlib.import_module("no_such_module")
    assert not gate.has_arrived.is_set()


def test_an_error_of_what_is_waited_for_is_that_imports_error(extension: str) -> None:
    def fail() -> None:
        raise OSError("libmxnet is no library")

    with extensions_waiting(fail), pytest.raises(OSError, match="no library"):
        importlib.import_module(extension)
    assert importlib.import_module(extension).__name__ == extension


def test_afterwards_nothing_waits_any_more_also_after_an_error(gate: Gate, extension: str) -> None:
    before = list(sys.meta_path)
    with pytest.raises(ValueError, match="x"), extensions_waiting(gate.wait):
        raise ValueError("x")
    assert sys.meta_path == before
    assert importlib.import_module(extension)
    assert not gate.has_arrived.is_set()
