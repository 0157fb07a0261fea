"""The commands of the documentation, run as they stand; only ports are changed, so that the tests can run beside anything else."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.docs.pages import ROOT, Command, all_commands, blocks
from tests.end_to_end.endpoint import Endpoint, next_line, served_by, shell_variables

# What a test does not run as it stands, and what is done instead.
NOT_RUN = {
    "make test": "it is what runs this",
    "make test PYTHON=python3.12": "the same",
    "make bench": "minutes; its script's options are checked",
    "make bench-batch": "minutes; its script's options are checked",
    "make layers": "minutes; its script's options are checked",
    "make layers LAYERS=3.12": "the same",
    "make test-layers": "many minutes; it runs tests itself",
    "make layers ARCH=arm64": "minutes; its script's options are checked",
    "make test-arm64": "minutes; it runs tests itself",
    "make sam-local": "minutes and Docker; tests/template/test_sam_local.py runs what it runs",
    "make build/archives/digits_lenet.model": "what the tests are served is built by it",
    "install -D build/archives/digits_lenet.model build/sam-local/build/PredictFunction/models/digits_lenet.model": "for sam local",
    "make bench-power": "minutes, and root; its script's options are checked",
}
OPTIONS_ONLY = re.compile(r"python -m (archives\.\w+\.build|benchmarks\.\w+|layers\.\w+)\b")
LARGE = re.compile(r"curl .*/alexnet_\w+/predict")  # archives of 244 MB, which `make archives` builds

COMMANDS = all_commands()
ON_MAKE_RUN = [each for each in COMMANDS if "127.0.0.1:3000/" in each.text and not LARGE.match(each.text)]
START = [each for each in COMMANDS if " local_emulator start-api " in each.text]
ON_START = [each for each in COMMANDS if "127.0.0.1:8080/" in each.text]
INVOKE = [each for each in COMMANDS if " local_emulator invoke " in each.text]
POLL = [each for each in COMMANDS if " local_emulator poll " in each.text]
TOOL = [each for each in COMMANDS if each.text.startswith("python -m archives ")]
HELP = [each for each in COMMANDS if OPTIONS_ONLY.match(each.text)]
# What needs an account of AWS's, or Docker; test_cloud_commands.py holds it against what the tools take.
CLOUD = [each for each in COMMANDS if re.match(r'sam |aws |eval "\$\(aws |docker |curl .*https://API\.', each.text)]

needs_curl = pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")


def names(commands: Iterable[Command]) -> list[str]:
    return [f"{each.page}: {each.text[:50]}" for each in commands]


def run(command: Command, folder: Path, port: int = 0) -> subprocess.CompletedProcess[str]:
    """Type the command into a shell in ``folder``; it has to succeed, and to print what the page says."""
    text = re.sub(r"127\.0\.0\.1:\d+", f"127.0.0.1:{port}", command.text)
    done = subprocess.run(
        text, shell=True, cwd=folder, env=shell_variables(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert command.output in done.stdout
    return done


def test_every_command_is_run_or_it_is_said_why_not() -> None:
    run_here = [*ON_MAKE_RUN, *START, *ON_START, *INVOKE, *POLL, *TOOL, *HELP, *CLOUD]
    left = [each for each in COMMANDS if each not in run_here and not LARGE.match(each.text)]
    assert {each.text for each in left} == {"make run", "make demo-batch", *NOT_RUN}
    assert len(COMMANDS) > 20
    assert all([ON_MAKE_RUN, START, ON_START, INVOKE, POLL, TOOL, HELP, CLOUD])


def test_make_run_sends_a_request_and_prints_the_line_that_the_readme_has(make_run: Endpoint) -> None:
    printed = [next_line(make_run.process) for _ in range(6)]
    line = next(line for line in printed if line.startswith("$ curl"))
    readme = [each.text for each in ON_MAKE_RUN if each.page == "README.md"]
    assert line[2:].strip().replace(f":{make_run.port}/", ":3000/") in readme
    answer = json.loads(printed[printed.index(line) + 1])
    assert answer["prediction"][0]["class"] == "3"


def best(answer: Any) -> str:
    """The best label of an answer."""
    first = answer["prediction"][0]
    return str(first.get("class") or first.get("category"))


# A part of a command, and what its answer has to be.
ANSWERS = {"sample.png": "3", "A gripping novel": "Books", "frying pan": "Home and Kitchen"}


@needs_curl
@pytest.mark.parametrize("command", ON_MAKE_RUN, ids=names(ON_MAKE_RUN))
def test_what_is_sent_to_the_running_examples_is_answered_rightly(make_run: Endpoint, command: Command) -> None:
    (expected,) = [label for part, label in ANSWERS.items() if part in command.text]
    assert best(json.loads(run(command, ROOT, make_run.port).stdout)) == expected


@needs_curl
@pytest.mark.parametrize(("start", "ask"), list(zip(START, ON_START, strict=True)), ids=names(START))
def test_an_archive_of_ones_own_is_served_and_asked_as_the_page_says(
    kitten_folder: Path, start: Command, ask: Command
) -> None:
    assert start.page == ask.page
    command = shlex.split(re.sub(r"--port \d+", "--port 0", start.text))
    with served_by(command, kitten_folder / "run", cwd=kitten_folder) as endpoint:
        answer = json.loads(run(ask, kitten_folder, endpoint.port).stdout)
    assert best(answer) in ("ant", "bee", "cat", "dog")


@pytest.mark.parametrize("command", INVOKE, ids=names(INVOKE))
def test_single_invokes_print_the_answer(numbers_folder: Path, command: Command) -> None:
    expected = 7 if "event.json" in command.text else 3
    assert json.loads(run(command, numbers_folder).stdout) == {"prediction": expected}


@pytest.mark.slow
@pytest.mark.parametrize("command", POLL, ids=names(POLL))
def test_a_queue_on_this_machine_is_polled_until_it_is_empty(numbers_folder: Path, command: Command) -> None:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "us-east-1"}
        boto3.client("sqs", endpoint_url=f"http://{host}:{port}", **keys).create_queue(QueueName="jobs")
        assert "0 left to come again" in run(command, numbers_folder, port).stdout
    finally:
        server.stop()


@pytest.mark.slow
def test_make_demo_batch_shows_predictions_errors_and_a_summary_with_their_keys(demo_batch: str) -> None:
    assert re.search(r"^messages +27 received: 27 done, 0 left to come again$", demo_batch, re.MULTILINE)
    assert re.findall(r"^(\w+): (\d+) objects", demo_batch, re.MULTILINE) == [
        ("Results", "26"),
        ("Errors", "2"),
        ("Summaries", "26"),
    ]
    written = dict(re.findall(r"^  s3://predictions/(\S.*)\n((?:    .*\n?)+)", demo_batch, re.MULTILINE))
    kinds = {re.sub(r"@[0-9a-f]{12}/(.*)/[0-9a-f]{32}", r" \1 ", key): text for key, text in written.items()}
    with (ROOT / "build" / "data" / "digits_test" / "labels.csv").open(encoding="ascii") as file:
        labels = dict(line.strip().split(",") for line in file)
    for number in range(4):
        assert f'"class":"{labels[f"{number:04}.png"]}"' in kinds[f"digits_lenet pictures/{number:04}.png .jsonl"]
    texts = kinds["char_cnn texts/sample.jsonl .jsonl"].splitlines()
    assert [("prediction" in line, "error" in line) for line in texts].count((True, False)) == 6
    assert '"category":"Books"' in texts[0]
    assert [texts[3], texts[5]] == kinds["char_cnn texts/sample.jsonl _errors.jsonl"].splitlines()
    assert "no whole image" in kinds["digits_lenet pictures/broken on purpose.png _errors.jsonl"]
    assert json.loads(kinds["char_cnn texts/sample.jsonl _summary.json"])["failed"] == 2


def test_the_boto3_snippet_invokes_the_function(numbers_folder: Path) -> None:
    (snippet,) = [
        "\n".join(each.lines)
        for each in blocks(ROOT / "docs" / "local-emulator.md")
        if each.language == "python" and "boto3.client" in each.lines[0]
    ]
    keys = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1"}
    start = shlex.split("python -m local_emulator start-api --port 0 --models gluon=gluon.model")
    with served_by(start, numbers_folder / "run", cwd=numbers_folder) as endpoint:
        script = "import boto3\n" + snippet.replace("127.0.0.1:3000", f"127.0.0.1:{endpoint.port}")
        *before, call = script.splitlines()
        script = "\n".join([*before, f"answer = {call}", "print(answer['Payload'].read().decode())"])
        printed = subprocess.check_output(["python", "-c", script], env=shell_variables(**keys), text=True)
    assert json.loads(printed) == {"prediction": 3}


@pytest.mark.parametrize("command", TOOL, ids=names(TOOL))
def test_the_archive_tool_does_what_its_page_says(packing_folder: Path, command: Command) -> None:
    verb = command.text.split()[3]
    if "--handler" in command.text:
        (packing_folder / "digits" / "MANIFEST.json").unlink()
    if verb != "pack":
        shutil.copy(ROOT / "build" / "archives" / "digits_lenet.model", packing_folder / "digits.model")
    printed = run(command, packing_folder).stdout
    expected = {"pack": r"^[\w./]+\.(model|mar): [\d,]+ bytes$", "inspect": "digits_lenet", "validate": "prediction"}
    assert re.search(expected[verb], printed), printed


@pytest.mark.parametrize("command", HELP, ids=names(HELP))
def test_scripts_that_take_minutes_know_the_options_that_they_are_shown_with(command: Command) -> None:
    match = OPTIONS_ONLY.match(command.text)
    assert match
    variables = shell_variables()
    variables["PYTHONPATH"] = f"{ROOT / 'handler'}:{ROOT}"
    told = subprocess.check_output(["python", "-m", match[1], "--help"], cwd=ROOT, env=variables, text=True)
    assert set(re.findall(r"--[a-z-]+", command.text)) <= set(re.findall(r"--[a-z-]+", told))


def test_the_native_service_of_the_page_works_as_it_says() -> None:
    import numpy as np

    from gluon_lambda.errors import InputMismatch
    from gluon_lambda.runtime.fake import FakePredictor
    from gluon_lambda.services.native import NativeModel, NativeService
    from gluon_lambda.types import Part

    (snippet,) = ["\n".join(each.lines) for each in blocks(ROOT / "docs" / "services.md") if each.language == "python"]
    namespace: dict[str, Any] = {"encode": lambda text: np.array([[len(text)]])}
    exec(snippet, namespace)
    assert issubclass(namespace["Reviews"], NativeService)
    service = namespace["Reviews"](
        NativeModel("m", "/", {}, None, ("bad", "good"), FakePredictor((), lambda arrays: []))
    )
    assert service.preprocess({"data": Part("data", b"four")})["data"].tolist() == [[4]]
    assert service.postprocess([np.array([[0.1, 0.9]])]) == {"label": "good"}
    with pytest.raises(InputMismatch):
        service.preprocess({"data": Part("data", b"")})
