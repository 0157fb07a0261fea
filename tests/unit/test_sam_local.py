"""What `make sam-local` picks and what it says where something is missing. That it works, tests/template/test_sam_local.py shows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from layers import sam_local
from layers.other_versions import VERSIONS
from layers.sam_local import IMAGE, answered, choose, environment, images, refuse_missing, write_events


@pytest.fixture
def pythons(tmp_path: Path) -> dict[str, str]:
    """A PATH with programs that say that they are Python 3.11 and 3.13."""
    for version in ("3.11", "3.13"):
        program = tmp_path / f"python{version}"
        program.write_text(f"#!/bin/sh\necho {version}\n")
        program.chmod(0o755)
    return {"PATH": str(tmp_path), "HOME": str(tmp_path)}


def tags(*versions: str) -> list[str]:
    return ["debian:12", *(f"{IMAGE}:{version}" for version in versions)]


@pytest.mark.parametrize(
    ("there", "chosen"),
    [(("3.11",), "3.11"), (("3.11-x86_64",), "3.11"), (("3.11", "3.13"), "3.13"), (("3.12", "3.11"), "3.11")],
)
def test_the_runtime_is_one_whose_image_and_python_are_here(
    pythons: dict[str, str], there: tuple[str, ...], chosen: str
) -> None:
    assert choose(tags(*there), pythons) == chosen


@pytest.mark.parametrize("there", [[], ["3.11-arm64"], ["3.10"]])
def test_where_no_image_is_there_it_is_said_how_to_fetch_one(pythons: dict[str, str], there: list[str]) -> None:
    with pytest.raises(SystemExit, match=f"docker pull {IMAGE}:3.12-x86_64"):
        choose(tags(*there), pythons)


def test_where_only_the_python_is_missing_it_is_said_which(pythons: dict[str, str]) -> None:
    with pytest.raises(SystemExit, match=r"image of Python 3.12, and this machine no such Python.* pyenv install 3.12"):
        choose(tags("3.12"), pythons)


def test_where_no_docker_answers_it_is_said_where_it_was_looked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
    silent = tmp_path / "python"
    silent.write_text("#!/bin/sh\necho cannot connect >&2\nexit 1\n")
    silent.chmod(0o755)
    with pytest.raises(SystemExit, match=r"No Docker answers at unix:///nowhere.sock: cannot connect.*make run"):
        images(silent)


def test_where_sam_is_missing_it_is_said_how_to_install_it(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="make sam-tools"):
        images(tmp_path / "python")


def test_where_the_example_is_not_built_it_is_said_how_to_build_it(tmp_path: Path) -> None:
    model = tmp_path / "digits_lenet.model"
    with pytest.raises(SystemExit, match=r"Build it: make build/archives/digits_lenet\.model"):
        refuse_missing(model)
    model.touch()
    refuse_missing(model)


@pytest.mark.parametrize("said", ["", "\n \n"])
def test_a_function_that_gives_no_answer_is_said_to_give_none(said: str) -> None:
    with pytest.raises(SystemExit, match="no answer"):
        answered(said)
    assert answered('START\n{"statusCode": 200}\n') == {"statusCode": 200}


def test_sam_gets_the_shell_without_what_is_for_this_projects_python() -> None:
    shell = {"PYTHONPATH": "handler", "LD_LIBRARY_PATH": "build/lib", "DOCKER_HOST": "tcp://10.0.0.1:2375"}
    assert environment(shell) == {
        "AWS_DEFAULT_REGION": "us-east-1",
        "SAM_CLI_TELEMETRY": "0",
        "DOCKER_HOST": "tcp://10.0.0.1:2375",
    }


def test_the_versions_are_those_that_layers_are_built_for() -> None:
    assert sorted(sam_local.VERSIONS) == list(VERSIONS)


def test_the_event_files_hold_the_picture(tmp_path: Path) -> None:
    direct, http_api = (json.loads(path.read_text()) for path in write_events(tmp_path))
    assert direct["inputs"]["data"] == http_api["body"]
    assert http_api["isBase64Encoded"]
