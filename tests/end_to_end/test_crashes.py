"""A process that native code ends, through the real awslambdaric: its log has to say where it was."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.lambda_process import NEXT, http_event, running
from tests.service_archives import manifest_1_x, write_files

# Reads address 0 where it is told to. What it prints before that is held back, as everything is that archives print.
CRASHING = """
import ctypes


def handle(data, context):
    {first}
    if data is None:
        return None
    read_nothing()
    return ["unreachable"]


def read_nothing():
    ctypes.string_at(0)
"""


@pytest.mark.parametrize(("first", "when"), [("read_nothing()", "INIT"), ("pass", "an invocation")])
def test_a_segmentation_fault_is_told_with_the_stack_of_each_thread(tmp_path: Path, first: str, when: str) -> None:
    code = CRASHING.format(first=first)
    archive = write_files(
        tmp_path / "net", {"MAR-INF/MANIFEST.json": manifest_1_x("crashing:handle"), "crashing.py": code}
    )
    with running(tmp_path / "run", GLUON_MODELS=f"net={archive}") as function:
        if when == "an invocation":
            function.expect(NEXT)
            function.hand_over(http_event("POST", "/net/predict", "[1]"))
        assert function.exit_code() == -signal.SIGSEGV
        log = (tmp_path / "run" / "log").read_text()
    assert "Fatal Python error: Segmentation fault" in log
    assert 'crashing.py", line' in log
    assert "in read_nothing" in log
    assert log.count("hread 0x") >= 2
