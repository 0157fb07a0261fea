"""Runs ``make test`` on the Python versions that ``.venv`` is not, each in an environment of its own, with the same ``build/``.

python -m layers.other_versions
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

VERSIONS = ("3.11", "3.12", "3.13")


class Outcome(NamedTuple):
    """How one version went.

    Attributes:
        said: For the reader: passed or failed and how long it took, or why it was skipped.
        failed: Whether its tests ran and failed.
    """

    said: str
    failed: bool = False


def main() -> int:
    """Test every version that is found; 1 if one failed."""
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    outcomes = {version: outcome(version, here=here, environ=os.environ) for version in VERSIONS}
    print("\n".join(f"Python {version}: {each.said}" for version, each in outcomes.items()))
    return int(any(each.failed for each in outcomes.values()))


def outcome(version: str, *, here: str, environ: Mapping[str, str]) -> Outcome:
    """Test one version, unless it is ``here``, that of ``.venv``, or cannot be found."""
    if version == here:
        return Outcome("skipped, since .venv has it: make test")
    python = find_python(version, environ)
    if python is None:
        return Outcome(f"skipped, since there is no python{version} here that runs, on PATH or in pyenv")
    started = time.monotonic()
    failed = run_tests(version, python) != 0
    return Outcome(f"{'FAILED' if failed else 'passed'} in {time.monotonic() - started:.0f} s, with {python}", failed)


def run_tests(version: str, python: str) -> int:
    """The exit status of ``make test`` with this interpreter in ``.venv-3.x``."""
    print(f"Python {version}: {python}, in .venv-{version}", flush=True)
    return subprocess.call(["make", "--no-print-directory", f"VENV=.venv-{version}", f"PYTHON={python}", "test"])


def find_python(version: str, environ: Mapping[str, str]) -> str | None:
    """An interpreter of this version: the one on ``PATH``, else pyenv's newest; None where neither runs."""
    return next((python for python in candidates(version, environ) if is_version(python, version)), None)


def candidates(version: str, environ: Mapping[str, str]) -> Iterator[str]:
    """Where an interpreter may be, best first."""
    on_path = shutil.which(f"python{version}", path=environ.get("PATH", ""))
    if on_path:
        yield on_path
    pyenv = Path(environ.get("PYENV_ROOT") or Path(environ.get("HOME", "/"), ".pyenv"))
    for folder in sorted(pyenv.glob(f"versions/{version}.*"), key=patch_number, reverse=True):
        yield str(folder / "bin" / f"python{version}")


def patch_number(folder: Path) -> int:
    """The 10 of ``3.12.10``; 0 for a name that has none, like ``3.13.dev``."""
    number = re.match(r"\d+\.\d+\.(\d+)", folder.name)
    return int(number[1]) if number else 0


def is_version(python: str, version: str) -> bool:
    """Whether it runs and is what its name says: pyenv's shims stand on ``PATH`` for versions that are not chosen, and then refuse."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    except OSError:
        return False
    return done.returncode == 0 and done.stdout.strip() == version


if __name__ == "__main__":
    sys.exit(main())
