"""``python -m local_emulator`` as its user meets it: in a process of its own, with signals, ports and pipes."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from local_emulator.commands.interrupts import in_thread
from tests.emulator.sample_function import BROKEN_HANDLER, SLOW_HANDLER, MakeFolder, child, is_running

ROOT = Path(__file__).parents[2]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "local_emulator", *arguments]


def run(folder: Path, *arguments: str, event: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments),
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        input=event,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@contextlib.contextmanager
def serving(folder: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """``start-api`` on a free port; gives the process and the address that it says it listens on."""
    with _started(folder, *arguments) as process:
        yield process, _address(process)


@contextlib.contextmanager
def _started(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command("start-api", "--port", "0", *arguments),
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=(folder / "log").open("w"),
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _address(process: subprocess.Popen[str]) -> str:
    match = re.search(r"listens on (http://\S+)", _line(process))
    assert match
    return match[1]


def _line(process: subprocess.Popen[str]) -> str:
    # In a thread, for its time limit: select() knows nothing of the lines that the stream has buffered.
    return in_thread(_stdout(process).readline).result(20)


def _stdout(process: subprocess.Popen[str]) -> IO[str]:
    assert process.stdout is not None
    return process.stdout


def get(url: str) -> object:
    with urllib.request.urlopen(url, timeout=10) as response:
        return json.loads(response.read())


def test_invoke_prints_the_answer_on_stdout_and_the_log_on_stderr(function_folder: Path) -> None:
    (function_folder / "event.json").write_text('{"how": "answer", "answer": {"a": "ü"}}')
    result = run(function_folder, "invoke", "-e", "event.json")
    assert (result.returncode, json.loads(result.stdout)) == (0, {"a": "ü"})
    assert re.search(r"^START RequestId: .*^how: answer$.*^END .*^REPORT ", result.stderr, re.MULTILINE | re.DOTALL)


def test_invoke_reads_the_event_from_stdin_or_takes_an_empty_one(function_folder: Path) -> None:
    assert json.loads(run(function_folder, "invoke", "-e", "-", event='{"x": 1}').stdout) == {"x": 1}
    assert json.loads(run(function_folder, "invoke").stdout) == {}


@pytest.mark.parametrize("how", ["raise", "exit", "sleep"])
def test_invoke_ends_with_1_where_the_function_fails(function_folder: Path, how: str) -> None:
    result = run(function_folder, "invoke", "-e", "-", event=json.dumps({"how": how}))
    assert result.returncode == 1
    assert json.loads(result.stdout)["errorType"]


@pytest.mark.parametrize(
    ("arguments", "event", "complaint"),
    [
        (("invoke", "-e", "none.json"), "", "cannot read the event none.json: No such file"),
        (("invoke", "-e", "-"), "{oops", "the event - is not JSON"),
        (("invoke", "--template", "none.yaml"), "", "cannot read the template none.yaml"),
        (("invoke", "--models", "x.model"), "", "--models takes NAME=LOCATION"),
        (("invoke", "--env", "X"), "", "--env takes NAME=VALUE pairs, not 'X'"),
        (("start-api", "--example", "a=none.png"), "", "--example: cannot read none.png"),
        (("start-api", "--example-text", "a"), "", "--example-text NAME=TEXT, not 'a'"),
    ],
)
def test_what_the_user_got_wrong_is_one_line_and_code_2(
    function_folder: Path, arguments: tuple[str, ...], event: str, complaint: str
) -> None:
    result = run(function_folder, *arguments, event=event)
    assert result.returncode == 2
    assert result.stderr.startswith("local_emulator: ")
    assert complaint in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_port_that_is_taken_is_one_line_and_code_2_and_nothing_is_started(function_folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = run(function_folder, "start-api", "--port", port)
    assert result.returncode == 2
    assert f"port {port} of 127.0.0.1 is taken" in result.stderr
    assert result.stderr.count("\n") == 1


def test_variables_come_from_options_then_the_shell_then_the_template(function_folder: Path) -> None:
    template = function_folder / "template.yaml"
    variables = "{A: template, B: template, C: template, GLUON_MODELS: template}"
    template.write_text(template.read_text() + f"      Environment: {{Variables: {variables}}}\n")
    options = ["--env", "A=option", "EXTRA=option", "--models", "m=x y.model", "n=s3://b/k"]
    result = run(
        function_folder, "invoke", "-e", "-", *options, event='{"how": "describe"}', A="shell", B="shell", D="shell"
    )
    seen = json.loads(result.stdout)["environment"]
    assert {name: seen.get(name) for name in ("A", "B", "C", "D", "EXTRA")} == {
        "A": "option",
        "B": "shell",
        "C": "template",
        "D": None,
        "EXTRA": "option",
    }
    assert seen["GLUON_MODELS"] == f"m={function_folder}/x%20y.model n=s3://b/k"


@pytest.mark.parametrize(
    ("options", "variables", "folder"),
    [
        ((), {"TMPDIR": "/tmp"}, f"/tmp/gluon-lambda-{os.getuid()}"),
        ((), {"GLUON_CACHE_DIR": "/shell"}, "/shell"),
        (("--env", "GLUON_CACHE_DIR=/option"), {"GLUON_CACHE_DIR": "/shell"}, "/option"),
    ],
)
def test_each_user_of_the_machine_has_a_cache_of_their_own(
    function_folder: Path, options: tuple[str, ...], variables: dict[str, str], folder: str
) -> None:
    result = run(function_folder, "invoke", "-e", "-", *options, event='{"how": "describe"}', **variables)
    assert json.loads(result.stdout)["environment"]["GLUON_CACHE_DIR"] == folder


def test_the_shared_libraries_of_the_build_are_found(function_folder: Path) -> None:
    (function_folder / "build" / "lib").mkdir(parents=True)
    result = run(function_folder, "invoke", "-e", "-", event='{"how": "describe"}', LD_LIBRARY_PATH="/mine")
    assert json.loads(result.stdout)["environment"]["LD_LIBRARY_PATH"] == f"{function_folder}/build/lib:/mine"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_start_api_serves_until_it_is_told_to_end_and_leaves_no_process(
    function_folder: Path, number: signal.Signals
) -> None:
    with serving(function_folder) as (process, url):
        described = get(url + "/describe")
        assert isinstance(described, dict)
        process.send_signal(number)
        assert process.wait(5) == 0
        assert not Path(f"/proc/{described['pid']}").exists()
        assert "Traceback" not in (function_folder / "log").read_text()


def test_ending_in_the_middle_of_an_invocation_kills_what_it_started(function_folder: Path) -> None:
    with serving(function_folder) as (process, url):
        asking = in_thread(lambda: get(url + "/sleep"))
        _wait_until(lambda: child(function_folder / "code") > 0)
        assert is_running(child(function_folder / "code"))
        process.send_signal(signal.SIGINT)
        assert process.wait(5) == 0
        with pytest.raises((urllib.error.URLError, OSError)):
            asking.result(5)
    assert not is_running(child(function_folder / "code"))


def _wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_ending_in_the_middle_of_init_is_quick_and_quiet(make_folder: MakeFolder) -> None:
    folder = make_folder(SLOW_HANDLER)
    with _started(folder) as process:
        _wait_until((folder / "code" / "started").exists)
        process.send_signal(signal.SIGINT)
        assert process.wait(5) == 0
        assert _stdout(process).read() == ""
    log = (folder / "log").read_text()
    assert "Ending." in log
    assert "Traceback" not in log
    assert "failed" not in log


def test_a_killed_emulator_takes_its_idle_sandbox_with_it(function_folder: Path) -> None:
    with serving(function_folder) as (process, url):
        described = get(url + "/describe")
        assert isinstance(described, dict)
        process.kill()
        _wait_until(lambda: not is_running(described["pid"]))


def test_an_init_error_is_shown_at_start_and_answered_with_500(make_folder: MakeFolder) -> None:
    folder = make_folder(BROKEN_HANDLER)
    with serving(folder) as (_, url):
        with pytest.raises(urllib.error.HTTPError, match="500"):
            get(url + "/x")
        log = (folder / "log").read_text()
    assert (
        "INIT failed, so every request will fail until the cause is gone. RuntimeError: the model is not there" in log
    )


TEXT = '[{"review_title": "it\'s; good"}]'


@pytest.fixture
def examples(function_folder: Path) -> Iterator[tuple[str, list[str]]]:
    """What is printed after the announcement, for an example of each kind, while the endpoint serves."""
    (function_folder / "my digit.png").write_bytes(b"\x89PNG\x00")
    options = ("--example", "m=my digit.png", "--example-text", f"n={TEXT}")
    with serving(function_folder, *options) as (process, url):
        yield url, [_line(process) for _ in range(9)][4:]


def test_examples_are_sent_and_shown_as_curl_lines(examples: tuple[str, list[str]]) -> None:
    url, lines = examples
    assert lines[0] == f'$ curl -X POST {url}/m/predict -F "data=@my digit.png"\n'
    assert b'filename="my digit.png"\r\nContent-Type: image/png\r\n\r\n\x89PNG\x00\r\n' in _form(lines[1])
    assert lines[3] == f"$ curl -X POST {url}/n/predict --form-string {shlex.quote('data=' + TEXT)}\n"
    assert TEXT.encode() in _form(lines[4])


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
@pytest.mark.parametrize("at", [0, 3], ids=["file", "text"])
def test_a_copied_curl_line_sends_the_same_request(
    function_folder: Path, examples: tuple[str, list[str]], at: int
) -> None:
    _, lines = examples
    command = [*shlex.split(lines[at].removeprefix("$ ")), "-s"]
    repeated = subprocess.check_output(command, cwd=function_folder, text=True)
    assert _form(repeated) == _form(lines[at + 1])


def _form(event: str) -> bytes:
    """The multipart body of an echoed event, with its boundary made the same."""
    body = base64.b64decode(json.loads(event)["body"])
    return body.replace(body.split(b"\r\n", 1)[0], b"--boundary")


def test_the_emulator_imports_nothing_of_the_handler() -> None:
    found = [str(path) for path in (ROOT / "local_emulator").rglob("*.py") if "gluon_lambda" in path.read_text()]
    assert not found
