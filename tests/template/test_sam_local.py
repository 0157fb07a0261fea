"""`make sam-local`: the built template under SAM's own emulator, with real containers. It needs Docker with an image of Lambda's Python."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from layers import sam_local
from tests.examples.conftest import built
from tests.template.stack import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def said() -> str:
    """What it prints, SAM's log left out."""
    try:
        sam_local.choose(sam_local.images(sam_local.TOOLS / "python"), os.environ)
    except SystemExit as missing:
        pytest.skip(str(missing))
    built("digits_lenet", "digits_lenet.model")
    command = [sys.executable, "-m", "layers.sam_local"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=1800, check=False)
    assert done.returncode == 0
    return done.stdout


def after(said: str, command: str) -> str:
    """The line that follows the one that holds ``command``."""
    lines = said.splitlines()
    return lines[next(at for at, line in enumerate(lines) if command in line) + 1]


@pytest.mark.parametrize("name", sam_local.GOLDEN)
def test_golden_events_are_answered_though_their_path_is_no_route(said: str, name: str) -> None:
    status, _, body = after(said, f"--event tests/events/{name}.json").partition(" ")
    # The load balancer's path is /, which is asked for health.
    assert status == ("200" if name == "alb" else "404")
    assert json.loads(body)


@pytest.mark.parametrize("name", ["picture_direct", "picture_http_api"])
def test_a_picture_in_an_event_file_is_read(said: str, name: str) -> None:
    answer = json.loads(re.sub("^200 ", "", after(said, f"--event build/sam-local/events/{name}.json")))
    assert answer["prediction"][0]["class"] == "3"


def test_the_api_reads_a_picture_in_json(said: str) -> None:
    status, _, body = after(said, "(application/json)").partition(" ")
    assert (status, json.loads(body)["prediction"][0]["class"]) == ("200", "3")


def test_the_api_still_fails_with_binary_bodies_as_the_documentation_says(said: str) -> None:
    # Where this fails, SAM has mended it (aws-sam-cli, issue 3110), and docs/sam-local.md has to say so.
    assert after(said, "(image/png)").startswith("502 ")
