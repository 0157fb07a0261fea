"""The names in the process environment are the same from the first thread on.

A name that one thread adds while libmxnet reads the environment in another one may end the process, seldom
(docs/decisions/0006-init-as-a-plan.md). No test can wait for that; what brings it about can be watched.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import ROOT, TENSOR_SIGNATURE, ExportedNet, write_archive
from tests.lambda_process import NEXT, http_event, running

WATCH = Path(__file__).with_name("environment_watch.py")
PREDICT = http_event("POST", "/small/predict", json.dumps({"data": [[[[0.5] * 8] * 8]]}))
# An archive's own code, which does nothing that MMS's own service does not.
IMPORTS_MXNET = """
import mxnet
from mms.model_service.mxnet_model_service import MXNetBaseService


class Service(MXNetBaseService):
    pass
"""
# INIT's deadline passes, and the first invocation begins while it is being loaded.
IS_LATE = f"""
import time

time.sleep(1.1)
{IMPORTS_MXNET}
"""
ADDS_A_NAME = f"""
import os

os.environ["ADDED_BY_THE_ARCHIVE"] = "1"
del os.environ["ADDED_BY_THE_ARCHIVE"]
{IMPORTS_MXNET}
"""


def changed_names(archive: Path, scratch: Path, *, is_late: bool = False) -> list[str]:
    """What is noted of a function from its start until it has answered twice."""
    notes, first = scratch / "notes", scratch / "first"
    first.mkdir()
    (first / "sitecustomize.py").write_bytes(WATCH.read_bytes())
    variables = {"PYTHONPATH": f"{first}:{ROOT / 'handler'}", "ENVIRONMENT_WATCH": str(notes)}
    variables |= {"GLUON_MODELS": f"small={archive}", "GLUON_INIT_DEADLINE_SECONDS": "1" if is_late else "60"}
    with running(scratch / "run", **variables) as function:
        for _ in range(2):
            function.expect(NEXT)
            reply = function.invoke(PREDICT)
            assert reply.body["statusCode"] == 200, reply
        said = "".join(record.get("message", "") for record in function.records())
        assert ("INIT goes on in the first invocation" in said) == is_late
    return notes.read_text().splitlines()


@pytest.mark.parametrize("code", ["", IMPORTS_MXNET, IS_LATE], ids=["built-in service", "imports mxnet", "is late"])
def test_nobody_adds_or_removes_a_name_once_there_are_threads(
    small_net: ExportedNet, tmp_path: Path, code: str
) -> None:
    archive = write_archive(tmp_path / "small.model", small_net, TENSOR_SIGNATURE, code=code)
    assert changed_names(archive, tmp_path, is_late=code is IS_LATE) == []


def test_a_name_that_is_added_and_taken_again_is_noticed(small_net: ExportedNet, tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "small.model", small_net, TENSOR_SIGNATURE, code=ADDS_A_NAME)
    assert changed_names(archive, tmp_path) == ["os.putenv ADDED_BY_THE_ARCHIVE", "os.unsetenv ADDED_BY_THE_ARCHIVE"]
