"""What `sam build` runs for the layer and the functions, without SAM. What comes out of it, tests/layer looks at, and test_tools.py with SAM."""

from __future__ import annotations

import os
import shutil
import subprocess
import venv
from pathlib import Path

import pytest

from tests.template.stack import PARAMETERS, ROOT, stack

pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")

RUNTIMES = PARAMETERS["Runtime"]["AllowedValues"]
PARTS = {
    "MxnetLayer": "layers.build",
    "PredictFunction": "layers.function",
    "BatchFunction": "layers.function",
}


def make(
    runtime: str,
    part: str,
    folder: Path,
    *,
    architecture: str = "x86_64",
    root: Path = ROOT,
    path: str = "",
    **variables: str,
) -> subprocess.CompletedProcess[str]:
    """As SAM calls it: in a copy of the source, which is not the repository."""
    made = stack(Runtime=runtime, Architecture=architecture)
    resource = made.resources[part]
    # Where SAM looks for the Makefile.
    place = resource["Metadata"].get("ContextPath") or resource["Properties"]["ContentUri"]
    settings = [f"{name}={value}" for name, value in variables.items()]
    return subprocess.run(
        ["make", "--makefile", str(root / place / "Makefile"), f"build-{part}", *settings],
        cwd=folder,
        env={**os.environ, "ARTIFACTS_DIR": str(folder / "artifacts"), "MAKEFLAGS": "", "MAKELEVEL": ""}
        | ({"PATH": path} if path else {}),
        capture_output=True,
        text=True,
        check=False,
    )


def program(path: Path, text: str) -> str:
    """A shell script in the place of a Python."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


NOTING = 'pwd; for each in "$@"; do echo "$each"; done'


@pytest.mark.parametrize("architecture", PARAMETERS["Architecture"]["AllowedValues"])
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("part", PARTS)
def test_each_part_is_built_for_the_python_of_the_runtime_and_the_layer_for_the_processor(
    tmp_path: Path, runtime: str, part: str, architecture: str
) -> None:
    done = make(runtime, part, tmp_path, architecture=architecture, PYTHON=program(tmp_path / "python", NOTING))
    assert done.returncode == 0, done.stderr
    version = runtime.removeprefix("python")
    processor = ["--architecture", architecture] if part == "MxnetLayer" else []
    expected = [str(ROOT), "-m", PARTS[part], *processor, "--python", version, "--out", str(tmp_path / "artifacts")]
    assert done.stdout.splitlines() == expected


def test_spaces_in_the_repositorys_path_do_no_harm(tmp_path: Path) -> None:
    root, folder = tmp_path / "my work" / "clone of it", tmp_path / "sam's own"
    folder.mkdir()
    shutil.copytree(ROOT / "layers" / "sam", root / "layers" / "sam")
    done = make(RUNTIMES[0], "MxnetLayer", folder, root=root, PYTHON=program(folder / "python", NOTING))
    assert done.returncode == 0, done.stderr
    told = done.stdout.splitlines()
    assert (told[0], told[-1]) == (str(root), str(folder / "artifacts"))


def test_the_first_python_that_will_do_is_taken_and_one_that_is_too_old_or_does_not_run_is_passed_over(
    tmp_path: Path,
) -> None:
    root = tmp_path / "clone"
    shutil.copytree(ROOT / "layers" / "sam", root / "layers" / "sam")
    program(tmp_path / "bin" / "python3", "exit 1")
    program(tmp_path / "bin" / "python3.13", "exit 127")
    program(tmp_path / "bin" / "python3.12", f'echo "$0"; {NOTING}')
    path = f"{tmp_path / 'bin'}:/usr/bin:/bin"
    done = make("python3.12", "BatchFunction", tmp_path, root=root, path=path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == str(tmp_path / "bin" / "python3.12")


def test_a_python_without_pip_or_too_old_is_told_from_one_that_will_do(tmp_path: Path) -> None:
    venv.create(tmp_path / "bare", with_pip=False)
    for python in (tmp_path / "bare" / "bin" / "python", program(tmp_path / "old", "exit 1")):
        done = make(RUNTIMES[0], "MxnetLayer", tmp_path, PYTHON=str(python))
        assert done.returncode != 0
        assert "with pip" in done.stderr
        assert "PYTHON=/path/to/python3.12" in done.stderr


def test_who_goes_without_bytecode_says_so_in_the_shell(tmp_path: Path) -> None:
    done = make(RUNTIMES[0], "MxnetLayer", tmp_path, PYTHON="echo", LAYER_OPTIONS="--no-bytecode")
    assert done.stdout.split()[-1] == "--no-bytecode"


def test_a_build_that_fails_fails(tmp_path: Path) -> None:
    python = program(tmp_path / "python", '[ "$1" = -c ]')
    assert make(RUNTIMES[0], "MxnetLayer", tmp_path, PYTHON=python).returncode != 0


def test_a_python_with_nothing_but_pip_reads_what_is_pinned(tmp_path: Path) -> None:
    # As on a machine where nobody has run `make setup`, and in the container image.
    venv.create(tmp_path / "bare", with_pip=True)
    code = "from layers import build, wheels; print(*wheels.pinned('mxnet==1.9.1\\nsix==1; python_version < \"3\"'))"
    command = [str(tmp_path / "bare" / "bin" / "python"), "-c", code]
    done = subprocess.run(command, cwd=ROOT, env={}, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("mxnet==1.9.1 six==1"), done.stderr


def test_where_there_is_no_python_it_is_said_how_to_get_one(tmp_path: Path) -> None:
    done = make("python3.12", "MxnetLayer", tmp_path, PYTHON="")
    assert done.returncode != 0
    assert "apt-get install python3" in done.stderr
