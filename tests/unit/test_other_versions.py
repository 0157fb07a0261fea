"""Which interpreters ``make test-versions`` finds, and what it says of those that it does not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from layers.other_versions import Outcome, find_python, outcome


def interpreter(path: Path, version: str, *, status: int = 0) -> str:
    """A program that answers as an interpreter of this version would."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho {version}\nexit {status}\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"PATH": str(tmp_path / "bin"), "PYENV_ROOT": str(tmp_path / "pyenv")}


def test_the_interpreter_on_path_comes_first(tmp_path: Path, environ: dict[str, str]) -> None:
    interpreter(tmp_path / "pyenv/versions/3.12.1/bin/python3.12", "3.12")
    expected = interpreter(tmp_path / "bin/python3.12", "3.12")
    assert find_python("3.12", environ) == expected


@pytest.mark.parametrize(("version", "status"), [("3.12", 127), ("3.11", 0)])
def test_one_on_path_that_refuses_or_is_another_version_gives_way_to_pyenvs(
    tmp_path: Path, environ: dict[str, str], version: str, status: int
) -> None:
    interpreter(tmp_path / "bin/python3.12", version, status=status)
    expected = interpreter(tmp_path / "pyenv/versions/3.12.1/bin/python3.12", "3.12")
    assert find_python("3.12", environ) == expected


def test_pyenvs_newest_comes_first_by_number(tmp_path: Path, environ: dict[str, str]) -> None:
    interpreter(tmp_path / "pyenv/versions/3.12.9/bin/python3.12", "3.12")
    expected = interpreter(tmp_path / "pyenv/versions/3.12.10/bin/python3.12", "3.12")
    interpreter(tmp_path / "pyenv/versions/3.12.dev/bin/python3.12", "3.12")
    assert find_python("3.12", environ) == expected


def test_pyenv_is_looked_for_at_home_where_nothing_else_is_said(tmp_path: Path) -> None:
    expected = interpreter(tmp_path / ".pyenv/versions/3.13.0/bin/python3.13", "3.13")
    assert find_python("3.13", {"PATH": "", "HOME": str(tmp_path)}) == expected


def test_a_folder_of_pyenvs_without_an_interpreter_is_passed_over(tmp_path: Path, environ: dict[str, str]) -> None:
    (tmp_path / "pyenv/versions/3.12.1").mkdir(parents=True)
    assert find_python("3.12", environ) is None


def test_a_version_that_is_not_here_is_named(environ: dict[str, str]) -> None:
    said = "skipped, since there is no python3.12 here that runs, on PATH or in pyenv"
    assert outcome("3.12", here="3.11", environ=environ) == Outcome(said, failed=False)


def test_the_version_of_this_environment_is_not_tested_twice(tmp_path: Path, environ: dict[str, str]) -> None:
    interpreter(tmp_path / "bin/python3.12", "3.12")
    assert outcome("3.12", here="3.12", environ=environ).said == "skipped, since .venv has it: make test"


@pytest.mark.parametrize(("status", "said"), [(0, "passed"), (2, "FAILED")])
def test_each_version_is_tested_by_make_in_an_environment_of_its_own(
    tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, status: int, said: str
) -> None:
    python = interpreter(tmp_path / "bin/python3.12", "3.12")
    make = tmp_path / "tools/make"
    make.parent.mkdir()
    make.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\nexit {status}\n')
    make.chmod(0o755)
    monkeypatch.setenv("PATH", str(make.parent), prepend=os.pathsep)
    found = outcome("3.12", here="3.11", environ=environ)
    assert (found.said.split()[0], found.failed) == (said, status != 0)
    expected = ["--no-print-directory", "VENV=.venv-3.12", f"PYTHON={python}", "test"]
    assert (tmp_path / "arguments").read_text().split() == expected
