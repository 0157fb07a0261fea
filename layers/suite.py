"""Runs the tests that load real nets against every built layer whose Python is here, instead of against what is installed.

    python -m layers.suite

Each layer has an environment of its own (layers/environment.py) in build/layers/VERSION/venv; what the tests said is kept beside it in tests.xml.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from layers import environment
from layers.build import BUILD, ROOT
from layers.images import IMAGES
from layers.other_versions import Outcome, find_python

REAL_NETS = ("contract", "end_to_end", "examples", "mxnet_import", "archive_tool", "cold_path")


def main() -> int:
    """Test every layer; 1 if one failed."""
    outcomes = {version: outcome(BUILD / "layers" / version, os.environ) for version in IMAGES}
    print("\n".join(f"Layer for Python {version}: {each.said}" for version, each in outcomes.items()))
    return int(any(each.failed for each in outcomes.values()))


def outcome(folder: Path, environ: Mapping[str, str]) -> Outcome:
    """Test one layer, unless it is not built or cannot be run here."""
    if not (folder / "report.json").is_file():
        return Outcome("skipped, since it is not built: make layers")
    python = find_python(folder.name, environ)
    if python is None:
        return Outcome(f"looked at and not run, since there is no python{folder.name} here, on PATH or in pyenv")
    started = time.monotonic()
    environment.make(folder / "layer", folder / "venv", python)
    failed = run_tests(folder, environ) != 0
    return Outcome(f"{'FAILED' if failed else 'passed'} in {time.monotonic() - started:.0f} s, with {python}", failed)


def run_tests(folder: Path, environ: Mapping[str, str]) -> int:
    """The tests' exit status, with the layer's libraries and Python packages."""
    print(f"{folder / 'layer'}: {', '.join(REAL_NETS)}", flush=True)
    arguments = ["-q", "-m", "not slow", "-p", "no:cacheprovider", f"--junitxml={folder / 'tests.xml'}"]
    return subprocess.call(
        [str(folder / "venv" / "bin" / "python"), "-m", "pytest", *arguments, *(f"tests/{name}" for name in REAL_NETS)],
        cwd=ROOT,
        env={**environ, "LD_LIBRARY_PATH": str(folder / "layer" / "lib")},
    )


if __name__ == "__main__":
    sys.exit(main())
