"""One execution environment around the real awslambdaric: every way in which INIT and an invocation can end."""

from __future__ import annotations

import io
import itertools
import json
import os
import re
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from local_emulator.errors import SandboxClosed
from local_emulator.records import Ending
from tests.emulator.sample_function import (
    BROKEN_HANDLER,
    SLOW_HANDLER,
    VANISHING_HANDLER,
    MakeFunction,
    ask,
    child,
    is_running,
)

REPORT = re.compile(
    r"REPORT RequestId: (?P<id>\S+)\tDuration: (?P<duration>\d+\.\d\d) ms\tBilled Duration: (?P<billed>\d+) ms\t"
    r"Memory Size: (?P<memory>\d+) MB\tMax Memory Used: (?P<peak>\d+) MB\t(?:Init Duration: (?P<init>\d+\.\d\d) ms\t)?"
    r"(?:Status: (?P<status>\w+)\t)?(?:Error Type: (?P<error>[\w.]+)\t)?$"
)


def reports(log: io.BytesIO) -> list[dict[str, Any]]:
    lines = [line for line in log.getvalue().decode().splitlines() if line.startswith("REPORT")]
    matches = [REPORT.match(line) for line in lines]
    assert all(matches), lines
    return [match.groupdict() for match in matches if match]


def test_an_event_goes_in_and_comes_back(make_function: MakeFunction) -> None:
    function, log = make_function()
    outcome = ask(function, '{"greeting": "Grüße"}'.encode())
    assert outcome.ending is Ending.SUCCESS
    assert json.loads(outcome.payload) == {"greeting": "Grüße"}
    lines = log.getvalue().decode().splitlines()
    assert [line.split()[0] for line in lines] == ["INIT_START", "START", "how:", "END", "REPORT"]
    assert lines[1] == "START RequestId: id-1 Version: $LATEST"
    assert lines[3] == "END RequestId: id-1"


def test_init_is_reported_and_billed_with_the_first_invocation_only(make_function: MakeFunction) -> None:
    function, log = make_function()
    ask(function)
    ask(function)
    first, second = reports(log)
    assert float(first["init"]) > 5
    assert int(first["billed"]) >= float(first["init"]) + float(first["duration"])
    assert second["init"] is None
    # Rounded up to whole milliseconds, from the exact time; the report has its hundredths.
    assert float(second["duration"]) <= int(second["billed"]) <= float(second["duration"]) + 1


def test_the_memory_reported_is_what_the_process_used(make_function: MakeFunction) -> None:
    function, log = make_function()
    ask(function)
    ask(function, b'{"how": "grow"}')
    before, after = (int(report["peak"]) for report in reports(log))
    assert 5 < before < 60
    assert 64 <= after - before < 80


def test_the_process_stays_warm(make_function: MakeFunction) -> None:
    function, _ = make_function()
    first, second = (json.loads(ask(function, b'{"how": "describe"}').payload) for _ in range(2))
    assert first["pid"] == second["pid"]
    assert (first["calls"], second["calls"]) == (1, 2)


def test_the_process_sees_what_lambda_shows_it(make_function: MakeFunction) -> None:
    function, _ = make_function()
    seen = json.loads(ask(function, b'{"how": "describe"}', client_context='{"custom": {"k": "v"}}').payload)
    environment = seen["environment"]
    assert environment["GREETING"] == "hello"
    assert environment["AWS_REGION"] == "us-east-1", "the function's environment must not override what Lambda reserves"
    assert environment["_HANDLER"] == "app.handler"
    assert environment["AWS_LAMBDA_FUNCTION_NAME"] == "Echo"
    assert environment["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "256"
    assert environment["LAMBDA_TASK_ROOT"] == seen["cwd"] == function.configuration.code_folder
    assert environment["LD_LIBRARY_PATH"] == "/opt-like/lib:/from/the/shell"
    assert environment["TZ"] == ":UTC"
    assert environment["AWS_ACCESS_KEY_ID"] == "the-users-own"
    assert "NOT_LAMBDAS_BUSINESS" not in environment
    assert seen["path"][0] in ("", seen["cwd"])
    assert seen["request_id"] == "id-1"
    assert seen["arn"].endswith(":function:Echo")
    assert seen["client_context"] == {"k": "v"}
    assert 1_000 < seen["remaining_ms"] <= 2_000


def test_what_the_function_raises_is_its_callers_and_the_process_lives_on(make_function: MakeFunction) -> None:
    function, log = make_function()
    outcome = ask(function, b'{"how": "raise"}')
    assert outcome.ending is Ending.FUNCTION_ERROR
    error = json.loads(outcome.payload)
    assert (error["errorType"], error["errorMessage"]) == ("ValueError", "this is wrong")
    assert error["stackTrace"]
    assert json.loads(ask(function, b'{"how": "describe"}').payload)["calls"] == 2
    assert reports(log)[0]["status"] is None


def test_past_the_timeout_the_whole_process_group_is_killed_and_the_next_start_is_cold(
    make_function: MakeFunction,
) -> None:
    function, log = make_function(timeout_seconds=1)
    outcome = ask(function, b'{"how": "sleep"}', "id-9")
    assert outcome.ending is Ending.TIMEOUT
    assert json.loads(outcome.payload) == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": "RequestId: id-9 Error: Task timed out after 1.00 seconds",
    }
    assert not is_running(child(Path(function.configuration.code_folder)))
    assert re.search(
        r"^\d{4}-\d\d-\d\dT\S+Z id-9 Task timed out after 1.00 seconds$", log.getvalue().decode(), re.MULTILINE
    )
    assert json.loads(ask(function, b'{"how": "describe"}').payload)["calls"] == 1
    killed, cold = reports(log)
    assert (killed["duration"], killed["status"]) == ("1000.00", "timeout")
    assert cold["init"]


@pytest.mark.parametrize(
    ("how", "reason"),
    [("exit", "Runtime exited with error: exit status 3"), ("kill", "Runtime exited with error: signal: killed")],
)
def test_a_process_that_dies_is_an_exit_error_and_the_next_start_is_cold(
    make_function: MakeFunction, how: str, reason: str
) -> None:
    function, log = make_function()
    outcome = ask(function, json.dumps({"how": how}).encode())
    assert outcome.ending is Ending.EXIT
    assert json.loads(outcome.payload) == {
        "errorType": "Runtime.ExitError",
        "errorMessage": f"RequestId: id-1 Error: {reason}",
    }
    assert f"how: {how}" in log.getvalue().decode(), "what was printed before the crash is in the log"
    assert json.loads(ask(function, b'{"how": "describe"}').payload)["calls"] == 1
    died, cold = reports(log)
    assert (died["status"], died["error"]) == ("error", "Runtime.ExitError")
    assert cold["init"]


def test_a_process_that_dies_between_invocations_is_replaced_unnoticed(make_function: MakeFunction) -> None:
    function, _ = make_function()
    first = json.loads(ask(function, b'{"how": "describe"}').payload)
    threading.Event().wait(0.05)
    _kill_and_wait(first["pid"])
    second = json.loads(ask(function, b'{"how": "describe"}').payload)
    assert second["pid"] != first["pid"]


def _kill_and_wait(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists():
            break
        threading.Event().wait(0.02)
    threading.Event().wait(0.05)


def test_a_response_over_the_limit_is_an_error_of_its_own_and_costs_the_process(make_function: MakeFunction) -> None:
    function, log = make_function(timeout_seconds=10)
    outcome = ask(function, b'{"how": "large", "characters": 6291555}')
    assert outcome.ending is Ending.RESPONSE_TOO_LARGE
    assert json.loads(outcome.payload) == {
        "errorType": "Function.ResponseSizeTooLarge",
        "errorMessage": "Response payload size exceeded maximum allowed payload size (6291556 bytes).",
    }
    assert len(ask(function, b'{"how": "large", "characters": 6291554}').payload) == 6_291_556
    assert [bool(report["init"]) for report in reports(log)] == [True, True]


def test_an_init_error_reaches_the_caller_and_the_next_request_tries_again(make_function: MakeFunction) -> None:
    function, log = make_function(BROKEN_HANDLER)
    failure = function.initialise()
    assert failure is not None
    assert failure.ending is Ending.INIT_ERROR
    assert "the model is not there" in json.loads(failure.payload)["errorMessage"]
    outcome = ask(function)
    assert outcome.ending is Ending.INIT_ERROR
    assert json.loads(outcome.payload)["errorType"] == "RuntimeError"
    assert len(re.findall(rb"^INIT_START", log.getvalue(), re.MULTILINE)) == 2
    assert re.search(
        r"INIT_REPORT Init Duration: \S+ ms\tPhase: init\tStatus: error\tError Type: RuntimeError",
        log.getvalue().decode(),
    )
    code = Path(function.configuration.code_folder, "app.py")
    code.write_text("def handler(event, context):\n    return 'mended now'\n")
    assert ask(function).payload == b'"mended now"'


def test_a_process_that_dies_in_init_is_an_exit_error(make_function: MakeFunction) -> None:
    function, _ = make_function(VANISHING_HANDLER)
    outcome = ask(function, request_id="id-2")
    assert outcome.ending is Ending.EXIT
    assert json.loads(outcome.payload) == {
        "errorType": "Runtime.ExitError",
        "errorMessage": "RequestId: id-2 Error: Runtime exited with error: exit status 7",
    }


def test_an_init_that_takes_too_long_is_repeated_inside_the_invocation(
    make_function: MakeFunction,
) -> None:
    function, log = make_function(SLOW_HANDLER, init_seconds=0.5)
    assert ask(function).payload == b'"late, but here"'
    text = log.getvalue().decode()
    assert re.search(r"INIT_REPORT Init Duration: 5\d\d\.\d\d ms\tPhase: init\tStatus: timeout", text)
    assert text.index("START RequestId") > text.index("INIT_REPORT")
    assert reports(log)[0]["init"] is None


def test_a_second_invocation_waits_for_the_first(make_function: MakeFunction) -> None:
    function, log = make_function()
    ask(function)
    spans: list[Any] = []
    threads = [
        threading.Thread(target=lambda: spans.append(json.loads(ask(function, b'{"how": "pause"}').payload)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    spans.sort()
    assert len({pid for _, _, pid in spans}) == 1
    assert all(later[0] >= earlier[1] for earlier, later in itertools.pairwise(spans))
    assert len(reports(log)) == 4


def test_the_tail_holds_this_invocations_log_and_no_other(make_function: MakeFunction) -> None:
    function, _ = make_function()
    ask(function, b'{"how": "first"}', "id-1")
    tail = ask(function, b'{"how": "second"}', "id-2").log_tail.decode()
    assert tail.startswith("START RequestId: id-2")
    assert "how: second" in tail
    assert "REPORT RequestId: id-2" in tail
    assert "id-1" not in tail


def test_closing_kills_what_runs_and_refuses_what_comes(make_function: MakeFunction) -> None:
    function, _ = make_function()
    pid = json.loads(ask(function, b'{"how": "describe"}').payload)["pid"]
    function.close()
    assert not Path(f"/proc/{pid}").exists()
    with pytest.raises(SandboxClosed):
        ask(function)
