"""A small real function in a folder of its own, and the emulator's parts around it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from local_emulator.function import Function
from local_emulator.records import FunctionConfiguration
from local_emulator.sandbox.console import Console
from local_emulator.sandbox.environment import Machine
from local_emulator.sandbox.sandbox import Sandbox
from tests.emulator.sample_function import HANDLER, SHELL, TEMPLATE, MakeFolder, MakeFunction


@pytest.fixture
def make_folder(tmp_path: Path) -> MakeFolder:
    """Write a function's source and its template; gives the folder."""

    def make(source: str) -> Path:
        (tmp_path / "code").mkdir()
        (tmp_path / "code" / "app.py").write_text(source)
        (tmp_path / "template.yaml").write_text(TEMPLATE)
        return tmp_path

    return make


@pytest.fixture
def function_folder(make_folder: MakeFolder) -> Path:
    """The folder of the function that does what it is asked for."""
    return make_folder(HANDLER)


@pytest.fixture
def make_function(make_folder: MakeFolder) -> Iterator[MakeFunction]:
    """Start a function from source; gives it with the log that it writes. All are closed after the test."""
    made: list[Function] = []

    def make(
        source: str = HANDLER, *, timeout_seconds: float = 2, init_seconds: float = 10
    ) -> tuple[Function, io.BytesIO]:
        code = str(make_folder(source) / "code")
        environment = {"GREETING": "hello", "AWS_REGION": "not-this-one"}
        configuration = FunctionConfiguration("Echo", "app.handler", code, 256, timeout_seconds, environment)
        log = io.BytesIO()
        sandbox = Sandbox(configuration, Console(log), Machine(("/opt-like/lib",), SHELL), init_seconds=init_seconds)
        function = Function(configuration, sandbox)
        made.append(function)
        return function, log

    yield make
    for function in made:
        function.close()
