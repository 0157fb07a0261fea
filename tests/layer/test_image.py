"""The container image, as far as it can be tested without building it: its steps are run where its files are, and what comes out answers an event."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from layers.build import BUILD, ROOT
from layers.other_versions import find_python
from layers.targets import target
from tests.aws_rie import fetch_rie
from tests.conftest import BUILT
from tests.end_to_end.test_invoke_oracle import invoke
from tests.events.gateways import Sent, http_api_2_0
from tests.examples.conftest import built
from tests.layer.conftest import Layer
from tests.layer.lambda_root import invocable, lambda_root
from tests.layer.test_reproducible import digests

FILE = ROOT / "layers" / "image" / "Dockerfile"
TEXT = FILE.read_text()
HADOLINT = ROOT / "build" / "sam-tools" / "bin" / "hadolint"
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
PICTURE = (ROOT / "archives" / "digits_lenet" / "sample.png").read_bytes()


def copied() -> list[str]:
    """What the first stage gets from the repository."""
    first = TEXT.partition("\nFROM ")[2].partition("\nFROM ")[0]
    return [source for line in re.findall(r"^COPY (.*) \S+$", first, re.MULTILINE) for source in line.split()]


def instructions(name: str) -> list[str]:
    return re.findall(rf"^{name} (.*)$", TEXT, re.MULTILINE)


def test_both_stages_stand_on_lambdas_own_image_and_can_be_pinned_by_its_digest() -> None:
    bases = {line.removesuffix(" AS build") for line in instructions("FROM")}
    assert bases == {"public.ecr.aws/lambda/python:${VERSION}-x86_64${DIGEST}"}
    assert instructions("ARG")[:2] == ["VERSION=3.12", 'DIGEST=""']


def test_it_does_not_run_as_root_and_its_handler_is_the_templates() -> None:
    assert instructions("USER") == ["993:990"]
    assert instructions("CMD") == ['["lambda_function.lambda_handler"]']
    assert "Handler: lambda_function.lambda_handler" in (ROOT / "template.yaml").read_text()


def lint(text: str) -> str:
    if not HADOLINT.exists():
        pytest.skip("there is no hadolint in build/sam-tools: make sam-tools")
    command = [str(HADOLINT), "--no-color", "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False).stdout


@pytest.mark.slow
def test_hadolint_has_nothing_to_say_and_would_say_it() -> None:
    assert lint(TEXT) == ""
    assert "DL3002" in lint(TEXT.replace("USER 993:990", "USER root"))


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Layer:
    """What the first stage leaves, made of nothing but what it is given."""
    folder = tmp_path_factory.mktemp("image")
    for name in copied():
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder)
    (command,) = (json.loads(line) for line in instructions("RUN"))
    told = command[2].replace("/built", str(folder / "built"))
    path = f"{Path(find_python(VERSION, os.environ) or '').parent}:/usr/bin:/bin"
    environ = {"PATH": path, "VERSION": VERSION, "HOME": str(folder)}
    environ |= {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "PYENV_"))}
    done = subprocess.run([*command[:2], told], cwd=folder, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    return Layer(target(VERSION), folder / "built" / "opt", folder / "built" / "task")


@pytest.mark.slow
def test_what_its_steps_build_is_the_layer_and_the_function_byte_by_byte(image: Layer) -> None:
    built_before = BUILD / "layers" / VERSION
    if not (built_before / "layer.zip").is_file():
        pytest.skip(f"no layer for Python {VERSION} is built: make layers")
    for name, made in {"layer": image.folder, "function": image.function}.items():
        assert digests(made) == digests(built_before / name), "or `make layers` has not been run since a change"
    again = image.folder.parents[1] / "build" / "layers" / VERSION
    for name in ("layer.zip", "function.zip"):
        assert (again / name).read_bytes() == (built_before / name).read_bytes()


@pytest.fixture(scope="module")
def port(image: Layer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Where AWS's emulator takes invocations of it."""
    built("digits_lenet", "digits_lenet.model")
    folder = tmp_path_factory.mktemp("root")
    root = lambda_root(image, BUILT, fetch_rie(folder), folder)
    (setting,) = instructions("ENV")
    name, _, value = setting.partition("=")
    with invocable(root, {name: value}) as listening:
        yield listening


@pytest.mark.slow
def test_what_its_steps_build_answers_a_picture_with_a_model_that_is_baked_in(port: int) -> None:
    answer = invoke(port, "function", http_api_2_0(Sent(path="/digits_lenet/predict", body=PICTURE)))
    assert answer["statusCode"] == 200
    assert json.loads(answer["body"])["prediction"][0]["class"] == "3"
