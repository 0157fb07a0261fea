"""What `sam build` runs for the layer and the functions, without SAM."""

from __future__ import annotations

import marshal
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.template.stack import DOCUMENT, PARAMETERS, ROOT

VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"
FIND = ROOT / "layers" / "sam" / "find-python.sh"

pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")


def make(
    makefile: Path, target: str, artifacts: Path, folder: Path, **variables: str
) -> subprocess.CompletedProcess[str]:
    """As SAM calls it: from a copy of the source, which is not the repository."""
    settings = [f"{name}={value}" for name, value in variables.items()]
    return subprocess.run(
        ["make", "--makefile", str(makefile), target, *settings],
        cwd=folder,
        env={**os.environ, "ARTIFACTS_DIR": str(artifacts), "MAKEFLAGS": "", "MAKELEVEL": ""},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("runtime", PARAMETERS["Runtime"]["AllowedValues"])
def test_the_layers_folder_of_each_runtime_builds_for_its_python(tmp_path: Path, runtime: str) -> None:
    noting = tmp_path / "python"
    noting.write_text('#!/bin/sh\npwd\nfor each in "$@"; do echo "$each"; done\n')
    noting.chmod(0o755)
    makefile = ROOT / "layers" / "sam" / runtime / "Makefile"
    done = make(makefile, "build-MxnetLayer", tmp_path / "artifacts", tmp_path, PYTHON=str(noting))
    assert done.returncode == 0, done.stderr
    version = runtime.removeprefix("python")
    expected = [str(ROOT), "-m", "layers.build", "--python", version, "--out", str(tmp_path / "artifacts")]
    assert done.stdout.splitlines() == expected


def test_where_there_is_no_python_it_is_said_how_to_get_one(tmp_path: Path) -> None:
    makefile = ROOT / "layers" / "sam" / "python3.12" / "Makefile"
    done = make(makefile, "build-MxnetLayer", tmp_path / "artifacts", tmp_path, PYTHON="")
    assert done.returncode != 0
    assert "apt-get install python3" in done.stderr


@pytest.mark.parametrize("function", ["PredictFunction", "BatchFunction"])
def test_a_function_is_the_handler_with_bytecode_that_is_never_checked(tmp_path: Path, function: str) -> None:
    assert DOCUMENT["Resources"][function]["Metadata"]["BuildMethod"] == "makefile"
    artifacts = tmp_path / "artifacts"
    done = make(ROOT / "handler" / "Makefile", f"build-{function}", artifacts, tmp_path)
    assert done.returncode == 0, done.stderr
    ours = {path.relative_to(ROOT / "handler") for path in (ROOT / "handler").rglob("*.py")}
    built = {path.relative_to(artifacts) for path in artifacts.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert built == ours
    for source in ours:
        cached = artifacts / source.parent / "__pycache__" / f"{source.stem}.cpython-{VERSION.replace('.', '')}.pyc"
        content = cached.read_bytes()
        # PEP 552: a hash, and no look at the source.
        assert int.from_bytes(content[4:8], "little") == 0b01
        assert marshal.loads(content[16:]).co_filename == f"/var/task/{source}"


def test_the_same_handler_gives_the_same_bytes(tmp_path: Path) -> None:
    def bytes_of(name: str) -> dict[str, bytes]:
        artifacts = tmp_path / name
        assert make(ROOT / "handler" / "Makefile", "build-PredictFunction", artifacts, tmp_path).returncode == 0
        return {str(path.relative_to(artifacts)): path.read_bytes() for path in artifacts.rglob("*") if path.is_file()}

    assert bytes_of("one") == bytes_of("two")


def test_a_python_is_found_by_its_version_or_not_at_all() -> None:
    found = subprocess.run([FIND, VERSION], capture_output=True, text=True, check=True).stdout.strip()
    said = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
    assert said.startswith(f"Python {VERSION}.")
    assert subprocess.run([FIND, "3.99"], capture_output=True, check=False).returncode == 1
