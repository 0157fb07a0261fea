"""Builds the template with SAM and has `sam local` answer events and a picture, with whatever Docker is here.

    python -m layers.sam_local

docs/sam-local.md has the same commands one by one, and what `sam local` does otherwise than Lambda. Models come from S3 on Lambda; here the
example is put into the built function's folder, which is a copy in build/sam-local and never deployed.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from layers.build import BUILD, ROOT
from layers.other_versions import find_python

TOOLS = BUILD / "sam-tools" / "bin"
BUILT = BUILD / "sam-local" / "build"
EVENTS = BUILD / "sam-local" / "events"
MODEL = BUILD / "archives" / "digits_lenet.model"
PICTURE = ROOT / "archives" / "digits_lenet" / "sample.png"
GOLDEN = ("rest_api", "http_api_2_0", "function_url", "alb")

# The template's default first.
VERSIONS = ("3.12", "3.13", "3.11")
IMAGE = "public.ecr.aws/lambda/python"

# Run by SAM's own Python, so that the engine is found as SAM finds it: DOCKER_HOST, or the default socket.
_IMAGES = """
import docker, json, sys
try:
    print(json.dumps([tag for image in docker.from_env(timeout=10).images.list() for tag in image.tags]))
except docker.errors.DockerException as error:
    sys.exit(str(error))
"""
_PATIENCE_SECONDS = 300


def main() -> None:
    """Build, invoke, serve."""
    refuse_missing(MODEL)
    version = choose(images(TOOLS / "python"), os.environ)
    print(f"Runtime python{version}: Docker has its image, and this machine its Python", flush=True)
    build(version)
    for event in (*(ROOT / "tests" / "events" / f"{name}.json" for name in GOLDEN), *write_events(EVENTS)):
        print(brief(invoke(version, event)), flush=True)
    with serving(version) as url:
        for path, body, content_type in requests():
            print(f"POST {url}{path} ({content_type})\n{brief(ask(url + path, body, content_type))}", flush=True)


def refuse_missing(model: Path) -> None:
    """Stop where the example's archive has not been built.

    Raises:
        SystemExit: Says how to build it.
    """
    if not model.exists():
        raise SystemExit(f"The example is not in {model.parent}. Build it: make build/archives/{model.name}")


def images(python: Path) -> list[str]:
    """The tags of all images that Docker has.

    Args:
        python: SAM's own.

    Raises:
        SystemExit: SAM's tools or Docker are not there; says how to get them.
    """
    if not python.exists():
        raise SystemExit("SAM is not in build/sam-tools. Install it: make sam-tools")
    done = subprocess.run(
        [python, "-c", _IMAGES], env=environment(os.environ), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        place = os.environ.get("DOCKER_HOST") or "/var/run/docker.sock"
        raise SystemExit(
            f"No Docker answers at {place}: {said}. `sam local` runs functions in containers: start Docker, or say where it is (DOCKER_HOST). "
            "Without it there is `make run`"
        )
    tags: list[str] = json.loads(done.stdout)
    return tags


def choose(tags: Sequence[str], environ: Mapping[str, str]) -> str:
    """The Python whose image Docker has, and which is here to compile for it.

    Raises:
        SystemExit: There is none; says what to get.
    """
    there = [version for version in VERSIONS if {f"{IMAGE}:{version}", f"{IMAGE}:{version}-x86_64"} & {*tags}]
    if not there:
        raise SystemExit(f"Docker has no image of Lambda's Python. Fetch one: docker pull {IMAGE}:{VERSIONS[0]}-x86_64")
    found = next((version for version in there if find_python(version, environ)), None)
    if found is None:
        raise SystemExit(
            f"Docker has Lambda's image of Python {' and '.join(there)}, and this machine no such Python to compile for it. Get one: "
            f"pyenv install {there[0]}, or apt-get install python{there[0]}"
        )
    return found


def build(version: str) -> None:
    """``sam build``, and the example model beside the function's code."""
    sam("build", "--build-dir", str(BUILT), "--parameter-overrides", f"Runtime=python{version}")
    models = BUILT / "PredictFunction" / "models"
    models.mkdir(exist_ok=True)
    shutil.copy(MODEL, models)


def write_events(folder: Path) -> list[Path]:
    """Event files of a picture: a direct invoke, and what the HTTP API would send."""
    picture = b64encode(PICTURE.read_bytes()).decode()
    path = "/digits_lenet/predict"
    http = {"method": "POST", "path": path, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "sam"}
    context = {"apiId": "local", "domainName": "localhost", "http": http, "requestId": "picture", "stage": "$default"}
    form = {"version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": ""}
    sent = {"headers": {"content-type": "image/png"}, "body": picture, "isBase64Encoded": True}
    events = {
        "picture_direct": {"model": "digits_lenet", "inputs": {"data": picture}},
        "picture_http_api": {**form, **sent, "requestContext": context},
    }
    folder.mkdir(parents=True, exist_ok=True)
    return [written(folder / f"{name}.json", event) for name, event in events.items()]


def written(path: Path, event: object) -> Path:
    """The file, with the event in it."""
    path.write_text(json.dumps(event, indent=1) + "\n")
    return path


def invoke(version: str, event: Path) -> Any:
    """What ``sam local invoke`` prints for an event file.

    Raises:
        SystemExit: It failed, or the function gave no answer.
    """
    said = sam("local", "invoke", "PredictFunction", *local(version), "--event", str(event.relative_to(ROOT)))
    return answered(said)


def answered(said: str) -> Any:
    """The answer among what ``sam local invoke`` prints: its last line.

    Raises:
        SystemExit: There is none.
    """
    *_, last = ["", *said.strip().splitlines()]
    if not last:
        raise SystemExit("The function gave no answer: it ran out of time, or its container ended. Its log is above")
    return json.loads(last)


def local(version: str) -> list[str]:
    """The options that every ``sam local`` takes here."""
    models = "Models=digits_lenet=/var/task/models/digits_lenet.model"
    overrides = ["--parameter-overrides", f"Runtime=python{version}", models]
    return ["--template", str((BUILT / "template.yaml").relative_to(ROOT)), "--skip-pull-image", *overrides]


def sam(*arguments: str) -> str:
    """What SAM prints on stdout; its log goes to stderr, as it comes.

    Raises:
        SystemExit: It failed.
    """
    print("$ sam " + " ".join(arguments), flush=True)
    done = subprocess.run(
        [TOOLS / "sam", *arguments],
        cwd=ROOT,
        env=environment(os.environ),
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"sam {arguments[0]} ended with {done.returncode}; what it says is above")
    return done.stdout


def environment(shell: Mapping[str, str]) -> dict[str, str]:
    """The shell's, without what is for this project's own Python, and with a region where it names none."""
    kept = {name: value for name, value in shell.items() if name not in ("PYTHONPATH", "LD_LIBRARY_PATH")}
    return {"AWS_DEFAULT_REGION": "us-east-1", "SAM_CLI_TELEMETRY": "0", **kept}


@contextmanager
def serving(version: str) -> Iterator[str]:
    """The address of ``sam local start-api``, until the block ends."""
    port = free_port()
    arguments = ["local", "start-api", *local(version), "--port", str(port), "--warm-containers", "LAZY"]
    print("$ sam " + " ".join(arguments), flush=True)
    process = subprocess.Popen(
        [TOOLS / "sam", *arguments], cwd=ROOT, env=environment(os.environ), start_new_session=True
    )
    try:
        wait_for(port, process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGINT)  # SAM removes its containers
        process.wait(60)


def free_port() -> int:
    """A port on which nothing listens now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    """Until something listens on the port, or the process has ended."""
    until = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            return socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.2)
    raise SystemExit("sam local start-api does not listen; what it says is above")


def requests() -> Iterator[tuple[str, bytes, str]]:
    """Path, body and type: a picture as text in JSON, which SAM hands on, and as it is, which it does not."""
    picture = PICTURE.read_bytes()
    yield "/digits_lenet/predict", json.dumps({"data": b64encode(picture).decode()}).encode(), "application/json"
    yield "/digits_lenet/predict", picture, "image/png"


def ask(url: str, body: bytes, content_type: str) -> dict[str, Any]:
    """Status and body of the answer."""
    request = urllib.request.Request(url, body, {"Content-Type": content_type})
    try:
        with urllib.request.urlopen(request, timeout=_PATIENCE_SECONDS) as response:
            return {"statusCode": response.status, "body": response.read().decode()}
    except urllib.error.HTTPError as error:
        return {"statusCode": error.code, "body": error.read().decode()}


def brief(answer: dict[str, Any]) -> str:
    """Status and body, or a direct invoke's answer, on one line."""
    if "statusCode" in answer:
        return f"{answer['statusCode']} {answer['body'].strip()}"
    return json.dumps(answer)


if __name__ == "__main__":
    main()
