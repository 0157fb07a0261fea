"""The benchmark's own Runtime API and process driver, with the real awslambdaric and small handlers."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from itertools import permutations
from pathlib import Path

import pytest

from benchmarks.agreement import Disagreement
from benchmarks.contenders import CHAR_CNN, MOBILENET, Contender
from benchmarks.machine import CpuTime, cpu_ticks, cpu_time, foreign_share
from benchmarks.measure import Lambda, Measured, measure, measure_warm, require_workload_agreement, turns
from benchmarks.report import to_result
from benchmarks.runtime_api import read_call
from benchmarks.sandbox import Sandbox, SandboxFailed, lambda_environ, peak_memory_kib, reported_init
from benchmarks.tables import table
from benchmarks.timeline import AFTER, BEFORE, durations

MACHINE = {"processor": "x", "cpus": 2, "cpu_share_of_other_work": 0.01}
HANDLER = """
import json, time
print("loading")
print(json.dumps({"level": "INFO", "init": {"numpy": 12.5, "load": 3, "slept": "no"}}))
answered = []
def lambda_handler(event, context):
    answered.append(context.aws_request_id)
    time.sleep(event["sleep"])
    body = {"prediction": [{"class": "seven", "probability": 0.75}], "answered": answered}
    return {"statusCode": 200, "body": json.dumps(body)}
"""


def contender(folder: Path, source: str, *, name: str = "small") -> Contender:
    """A contender whose handler is ``source``."""
    task = folder / name
    task.mkdir()
    (task / "small.py").write_text(source)
    return Contender(name, Path(sys.executable), task, "small.lambda_handler", (("GREETING", "hello"),))


def start(folder: Path, source: str) -> Sandbox:
    """Its process."""
    return Sandbox(contender(folder, source), library_path="", log=folder / "log")


def test_a_cold_start_counts_from_process_start_to_the_answer(tmp_path: Path) -> None:
    with start(tmp_path, HANDLER) as sandbox:
        cold = sandbox.first_answer(b'{"sleep": 0.2}')
    assert cold.total_ms - cold.init_ms == pytest.approx(200, abs=100)
    assert cold.init_ms > 5
    assert durations(cold.spans) == {"numpy": pytest.approx(12.5), "load": pytest.approx(3.0)}
    assert cold.spans[-1].end_ms == cold.init_ms
    assert cold.peak_kib > 5000


def test_warm_invocations_go_to_the_same_process_under_ids_of_their_own(tmp_path: Path) -> None:
    with start(tmp_path, HANDLER) as sandbox:
        sandbox.first_answer(b'{"sleep": 0}')
        warm = sandbox.invoke(b'{"sleep": 0.1}')
    assert 100 <= warm.duration_ms < 300
    assert b"-000000000001" in warm.answer
    assert b"-000000000002" in warm.answer


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("raise RuntimeError('no such net')", "no such net"),
        ("def lambda_handler(event, context): raise ValueError('no such picture')", "no such picture"),
        ("import os; print('going', flush=True); os._exit(7)", "exit code 7"),
    ],
    ids=["INIT raises", "the handler raises", "the process ends"],
)
def test_a_handler_that_fails_is_named_with_what_it_said(tmp_path: Path, source: str, said: str) -> None:
    with start(tmp_path, source) as sandbox, pytest.raises(SandboxFailed, match=f"(?s)small .*{said}"):
        sandbox.first_answer(b"{}")


def test_each_process_finds_an_empty_cache_of_its_own_and_leaves_nothing_behind(tmp_path: Path) -> None:
    leaves = """
import os
folder = os.environ["GLUON_CACHE_DIR"]
assert os.listdir(folder) == []
open(os.path.join(folder, "archive"), "w").close()
def lambda_handler(event, context): return folder
"""
    task = contender(tmp_path, leaves)
    folders = set()
    for _ in range(2):
        with Sandbox(task, library_path="", log=tmp_path / "log") as sandbox:
            folders.add(sandbox.first_answer(b"{}").answer)
    assert len(folders) == 2
    assert [entry.name for entry in tmp_path.iterdir() if entry.is_dir()] == ["small"]


def test_what_a_failing_init_reported_is_kept_with_the_failure(tmp_path: Path) -> None:
    with start(tmp_path, "raise RuntimeError('no such net')") as sandbox, pytest.raises(SandboxFailed) as caught:
        sandbox.first_answer(b"{}")
    assert caught.value.in_init
    assert (caught.value.reported["errorType"], caught.value.reported["errorMessage"]) == (
        "RuntimeError",
        "no such net",
    )


def test_handlers_see_lambdas_environment_and_not_this_machines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    environ = lambda_environ(
        contender(tmp_path, HANDLER), address="127.0.0.1:1", library_path="/lib", scratch="/scratch"
    )
    assert environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "3538"
    assert environ["GREETING"] == "hello"
    assert "OMP_NUM_THREADS" not in environ


@pytest.mark.parametrize(
    "line",
    ["init", "{", '{"init": 3}', '{"init": {}}', '{"initial": {"numpy": 1}}', '["init"]', "{}"],
)
def test_a_line_that_reports_no_phases_is_passed_over(line: str) -> None:
    assert reported_init([line, '{"init": {"load": 1.5}}']) == {"init": {"load": 1.5}}


def test_peak_memory_is_the_high_water_mark_and_not_the_size_of_the_moment() -> None:
    assert peak_memory_kib("VmPeak:\t  999 kB\nVmHWM:\t  178464 kB\nVmRSS:\t  100 kB\n") == 178464


def test_a_call_is_read_to_the_end_of_its_body_and_no_further() -> None:
    stream = io.BytesIO(b"POST /a HTTP/1.1\r\ncontent-LENGTH: 3\r\n\r\nabcGET /b HTTP/1.1\r\nHost: x\r\n\r\n")
    calls = [read_call(stream), read_call(stream), read_call(stream)]
    assert [call and (call.path, call.body) for call in calls] == [("/a", b"abc"), ("/b", b""), None]


def test_every_round_has_everyone_once_and_nobody_always_follows_the_same() -> None:
    names = ["ours", "floor", "naive"]
    rounds = list(turns(names, 30))
    assert all(sorted(order) == sorted(names) for order in rounds)
    assert {tuple(order) for order in rounds} == set(permutations(names))
    assert rounds == list(turns(names, 30)), "a run can be made again"


def test_only_those_are_compared_who_were_asked_the_same(tmp_path: Path) -> None:
    one, other = contender(tmp_path, HANDLER, name="one"), contender(tmp_path, HANDLER, name="other")
    answers = {
        name: json.dumps({"statusCode": 200, "body": json.dumps({"prediction": [number]})}).encode()
        for name, number in (("one", 1), ("other", 2))
    }
    require_workload_agreement([one, other._replace(workload=CHAR_CNN)], answers)
    with pytest.raises(Disagreement, match="one and other"):
        require_workload_agreement([one, other], answers)


def test_a_whole_run_counts_every_round_and_finds_the_slower_one(tmp_path: Path) -> None:
    quick = contender(tmp_path, HANDLER.replace('event["sleep"]', "0.001"), name="floor")
    slow = contender(tmp_path, HANDLER.replace('event["sleep"]', "0.03"), name="naive")
    measured = measure(
        Lambda({MOBILENET: b"{}"}, "", tmp_path),
        [quick, slow],
        {"one": lambda: 7.0},
        cold=2,
        warm=4,
        say=lambda _: None,
    )
    result = to_result(measured, [quick, slow], {"machine": MACHINE, "settings": {"cold": 2, "warm": 4}})
    assert result["probes_ms"]["one"]["values"] == [7.0, 7.0]
    warm = result["contenders"]["floor"]["warm_ms"]
    assert len(warm["values"]) == 4
    assert warm["ratios"]["naive"]["value"] < 0.7
    assert len(result["contenders"]["naive"]["cold_ms"]["values"]) == 2
    assert list(result["contenders"]["naive"]["phases_ms"]) == [
        BEFORE,
        "numpy",
        "load",
        AFTER,
    ]
    assert "naive" in table(result)
    assert "NOT TO BE RELIED ON" not in table(result)


def test_warm_rounds_are_spread_over_several_processes(tmp_path: Path) -> None:
    counted = 'open(__file__ + ".starts", "a").write("*")\n' + HANDLER.replace('event["sleep"]', "0")
    one = contender(tmp_path, counted)
    setting = Lambda({MOBILENET: b"{}"}, "", tmp_path)
    for rounds, processes in ((2, 2), (12, 5)):
        starts = tmp_path / "small" / "small.py.starts"
        starts.unlink(missing_ok=True)
        assert len(measure_warm(setting, [one], rounds=rounds)["small"][0]) == rounds
        assert len(starts.read_text()) == processes


def test_figures_from_a_busy_machine_are_marked() -> None:
    facts = {"machine": MACHINE | {"cpu_share_of_other_work": 0.4}, "settings": {"cold": 1, "warm": 1}}
    assert table(to_result(Measured({}, {}), [], facts)).startswith("NOT TO BE RELIED ON: 40%")


def test_waiting_for_disks_counts_as_idle_and_guests_count_once() -> None:
    assert cpu_ticks("cpu  1 2 4 100 8 16 32 64 1 2\ncpu0 9 9 9 9 9 9 9 9 9 9\n") == (119, 227)


def test_the_benchmarks_own_work_is_not_counted_as_others() -> None:
    before, after = CpuTime(total=100.0, busy=50.0, own=5.0), CpuTime(total=120.0, busy=65.0, own=17.0)
    assert foreign_share(before, after) == pytest.approx(3 / 20)


def test_own_work_that_the_machine_has_not_counted_yet_makes_nothing_negative() -> None:
    before, after = CpuTime(total=100.0, busy=50.0, own=5.0), CpuTime(total=100.0, busy=50.0, own=5.1)
    assert foreign_share(before, after) == 0.0


def test_a_childs_work_is_own_work_once_it_has_ended() -> None:
    before = cpu_time()
    subprocess.run([sys.executable, "-c", "sum(range(3_000_000))"], check=True)
    after = cpu_time()
    assert after.own - before.own > 0.01
    assert after.total > before.total
