"""``make … PYTHON=python3.12`` runs on that Python, whatever environments are there already."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# A Python that knows its version, and makes environments that do.
PYTHON = """#!/bin/sh
case "$1" in
-c) case "$2" in *version_info*) echo {version};; esac;;
--version) echo Python {version}.0;;
layers/install.py) mkdir -p $2/bin && echo "version = {version}.0" > $2/pyvenv.cfg && cp "$0" $2/bin/python;;
layers/native_libraries.py) mkdir -p $2 && : > $2/libquadmath.so.0;;
-m) echo "$@"; mkdir -p build/layers/$4 && : > build/layers/$4/layer.zip;;
esac
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A Makefile and what `make setup` looks at, with Pythons beside."""
    for name in (
        "Makefile",
        "requirements.txt",
        "requirements-dev.txt",
        "layers/install.py",
        "layers/native_libraries.py",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "handler").mkdir()
    for version in ("3.11", "3.12"):
        program(tmp_path / "bin" / f"python{version}", PYTHON.format(version=version))
    return tmp_path


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def make(clone: Path, *arguments: str, target: str = "setup") -> str:
    """What ``make`` says, right or wrong."""
    environ = {"PATH": f"{clone}/bin:{os.environ['PATH']}", "HOME": str(clone), "PYENV_ROOT": str(clone / "pyenv")}
    done = subprocess.run(
        ["make", target, *arguments], cwd=clone, env=environ, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


def version_in(environment: Path) -> str:
    return (environment / "pyvenv.cfg").read_text().split()[2]


def test_a_fresh_clone_gets_its_environment_from_the_python_that_is_asked_for(clone: Path) -> None:
    assert make(clone, "PYTHON=python3.12") == "Setting up .venv with Python 3.12.0\n"
    assert "Setting up" not in make(clone, "PYTHON=python3.12")
    assert version_in(clone / ".venv") == "3.12.0"


def test_another_python_gets_an_environment_beside_it(clone: Path) -> None:
    make(clone, "PYTHON=python3.12")
    assert make(clone, "PYTHON=python3.11") == "Setting up .venv-3.11 with Python 3.11.0\n"
    assert (version_in(clone / ".venv"), version_in(clone / ".venv-3.11")) == ("3.12.0", "3.11.0")


def test_without_a_python_the_environment_that_is_there_is_used(clone: Path) -> None:
    make(clone, "PYTHON=python3.11")
    assert "Setting up" not in make(clone)


def test_an_environment_that_is_named_is_not_used_for_another_python(clone: Path) -> None:
    make(clone, "PYTHON=python3.12", "VENV=.venv-mine")
    said = make(clone, "PYTHON=python3.11", "VENV=.venv-mine")
    assert ".venv-mine has Python 3.12, and PYTHON=python3.11 is 3.11: name another VENV, or none" in said


def test_a_program_that_is_not_there_is_named_though_there_is_an_environment(clone: Path) -> None:
    make(clone, "PYTHON=python3.12")
    assert "PYTHON=python9: no such program, or it does not run" in make(clone, "PYTHON=python9")


def test_where_pyenvs_stand_in_refuses_its_newest_is_taken(clone: Path) -> None:
    program(clone / "bin" / "python3.13", "#!/bin/sh\nexit 127\n")
    for number in ("9", "10"):
        program(clone / f"pyenv/versions/3.13.{number}/bin/python3.13", PYTHON.format(version=f"3.13.{number}"))
    assert "Setting up .venv with Python 3.13.10" in make(clone, "PYTHON=python3.13")


def test_a_layer_is_built_anew_when_the_handler_or_the_options_have_changed_and_not_otherwise(clone: Path) -> None:
    def layers(*arguments: str) -> list[str]:
        return make(clone, "PYTHON=python3.12", "LAYERS=3.12", *arguments, target="layers").splitlines()[-1:]

    handler = clone / "handler"
    for name in ("a.py", "b.py"):
        (handler / name).write_text("")
    built = ["-m layers.build --python 3.12"]
    assert layers() == built
    assert layers() == []
    (handler / "b.py").unlink()
    assert layers() == built
    assert layers("LAYER_OPTIONS=--no-bytecode") == [f"{built[0]} --no-bytecode"]
    assert layers() == built
    zipped = clone / "build" / "layers" / "3.12" / "layer.zip"
    os.utime(zipped, (1, 1))
    os.utime(handler / "a.py", (2, 2))
    assert layers() == built
    zipped.unlink()
    assert layers() == built
    assert layers() == []
