"""Who is measured, with what, and what the command line refuses."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path

import pytest

from benchmarks.cold_start import choose, main
from benchmarks.contenders import ROOT, Places, all_contenders
from benchmarks.measure import Series
from benchmarks.report import cold_phases
from benchmarks.sandbox import ColdStart
from benchmarks.workload import http_api_event

PLACES = Places(Path("/own"), Path("/naive"), Path("/net"), Path("/net.model"), Path("/cache"))


def series(*, init: float, total: float, phases: dict[str, float]) -> Series:
    """One cold start's series."""
    return Series([ColdStart(total, init, phases, 1024, b"")], [1.0], 1024)


def test_every_contender_has_a_handler_file_and_only_naive_has_a_python_of_its_own() -> None:
    for name, contender in all_contenders(PLACES).items():
        module = contender.handler.partition(".")[0]
        assert (contender.folder / f"{module}.py").is_file()
        assert contender.python == (PLACES.naive_python if name.startswith("naive") else PLACES.python)


def test_a_name_that_nobody_has_is_refused_with_those_there_are() -> None:
    with pytest.raises(SystemExit, match="no contender flor; there are ours, floor"):
        choose(["ours", "flor"], PLACES)


def test_without_the_naive_environment_the_way_to_it_is_shown(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="make bench"):
        main(["--out", str(tmp_path)])


@pytest.mark.parametrize("count", ["0", "-3", "ten"])
def test_a_run_without_rounds_is_refused(count: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--cold", count])
    assert "--cold" in capsys.readouterr().err


def test_another_python_than_311_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    target = tmp_path / "naive"
    command = [str(ROOT / "benchmarks" / "setup_naive.sh"), str(target)]
    done = subprocess.run(
        command, env={"PATH": "/usr/bin:/bin", "PYTHON311": "/bin/false"}, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "PYTHON311=" in done.stderr
    assert not target.exists()


def test_the_event_carries_the_picture_as_an_http_api_does() -> None:
    event = json.loads(http_api_event(b"\xff\xd8picture"))
    assert base64.b64decode(event["body"]) == b"\xff\xd8picture"
    assert event["isBase64Encoded"] is True
    assert (event["version"], event["rawPath"]) == ("2.0", "/mobilenet/predict")


def test_what_no_one_reported_of_init_is_the_runtimes_and_stands_first() -> None:
    phases = cold_phases(series(init=100.0, total=130.0, phases={"numpy": 50.0, "load": 20.0}))
    assert list(phases.items()) == [
        ("python and runtime", 30.0), ("numpy", 50.0), ("load", 20.0), ("first invocation", 30.0)
    ]  # fmt: skip


def test_phases_that_overlap_leave_nothing_for_the_runtime_and_never_less() -> None:
    phases = cold_phases(series(init=100.0, total=130.0, phases={"numpy": 90.0, "load": 80.0}))
    assert phases["python and runtime"] == 0.0
