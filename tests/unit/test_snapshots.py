"""SnapStart's hooks, as far as one process shows them; tests/end_to_end/test_snapstart.py has the rest."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
import snapshot_restore_py

from gluon_lambda import snapshots
from gluon_lambda.errors import ConfigurationError
from gluon_lambda.runtime.engine import Engine
from gluon_lambda.services.model_thread import ModelThread
from gluon_lambda.telemetry.metrics import Metrics
from gluon_lambda.telemetry.output import Output


@pytest.fixture
def process(engine: Engine) -> snapshots.Process:
    output = Output()
    metrics = Metrics(output, namespace="tested", function_name="tested")
    return snapshots.Process(ModelThread(), engine.library, output, metrics)


@pytest.fixture(autouse=True)
def _registry() -> Iterator[None]:
    yield
    snapshot_restore_py.get_before_snapshot().clear()
    snapshot_restore_py.get_after_restore().clear()


def test_one_hook_of_ours_stands_for_those_that_an_archive_registered(process: snapshots.Process) -> None:
    called: list[str] = []
    snapshot_restore_py.register_before_snapshot(called.append, "before")
    snapshot_restore_py.register_after_restore(called.append, "after")
    snapshots.register(process)
    for registry in (snapshot_restore_py.get_before_snapshot(), snapshot_restore_py.get_after_restore()):
        ((function, arguments, options),) = registry
        function(*arguments, **options)
    assert called == ["before", "after"]


def test_without_the_package_that_runs_hooks_init_fails_and_says_what_to_do(
    process: snapshots.Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "snapshot_restore_py", None)
    with pytest.raises(ConfigurationError, match=r"snap-start.*snapshot-restore-py.*switch SnapStart off"):
        snapshots.register(process)
