"""Runs the tests that load real nets against every built layer whose Python is here, instead of against what is installed.

    python -m layers.suite
    python -m layers.suite --python 3.12 tests/examples

Each layer has an environment of its own (layers/environment.py) in build/layers/VERSION/venv; what all of the tests said is kept beside it in
tests.xml.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from layers import environment
from layers.build import BUILD, ROOT
from layers.images import IMAGES
from layers.other_versions import Outcome, find_python

REAL_NETS = tuple(
    f"tests/{name}" for name in ("contract", "end_to_end", "examples", "mxnet_import", "archive_tool", "cold_path")
)
# As `make test` runs them.
PARALLEL = ("--numprocesses=auto", "--maxprocesses=4", "--dist=loadfile")


def main(arguments: Sequence[str] | None = None) -> int:
    """Test every layer; 1 if one failed."""
    parser = argparse.ArgumentParser(prog="python -m layers.suite", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--python", action="append", choices=IMAGES, help="a layer; may be said again (all)")
    parser.add_argument("tests", nargs="*", default=list(REAL_NETS), help="files or folders (all that load real nets)")
    options = parser.parse_args(arguments)
    folders = (BUILD / "layers" / version for version in options.python or IMAGES)
    outcomes = {folder.name: outcome(folder, os.environ, options.tests) for folder in folders}
    print("\n".join(f"Layer for Python {version}: {each.said}" for version, each in outcomes.items()))
    return int(any(each.failed for each in outcomes.values()))


def outcome(folder: Path, environ: Mapping[str, str], tests: Sequence[str] = REAL_NETS) -> Outcome:
    """Test one layer, unless it is not built or cannot be run here."""
    if not (folder / "layer.zip").is_file():
        return Outcome("skipped, since it is not built: make layers")
    python = find_python(folder.name, environ)
    if python is None:
        return Outcome(f"looked at and not run, since there is no python{folder.name} here, on PATH or in pyenv")
    started = time.monotonic()
    environment.make(folder / "layer", folder / "venv", python)
    failed = run_tests(folder, environ, tests) != 0
    return Outcome(f"{'FAILED' if failed else 'passed'} in {time.monotonic() - started:.0f} s, with {python}", failed)


def run_tests(folder: Path, environ: Mapping[str, str], tests: Sequence[str]) -> int:
    """The tests' exit status, with the layer's libraries and Python packages."""
    print(f"{folder / 'layer'}: {', '.join(tests)}", flush=True)
    arguments = ["-q", "-m", "not slow", "-p", "no:cacheprovider", *PARALLEL]
    if tuple(tests) == REAL_NETS:  # docs/versions.md counts whole runs
        arguments.append(f"--junitxml={folder / 'tests.xml'}")
    return subprocess.call(
        [str(folder / "venv" / "bin" / "python"), "-m", "pytest", *arguments, *tests],
        cwd=ROOT,
        env={**environ, "LD_LIBRARY_PATH": str(folder / "layer" / "lib")},
    )


if __name__ == "__main__":
    sys.exit(main())
