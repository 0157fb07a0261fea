"""Compiles a layer's Python files with the target's own Python.

``/opt`` and ``/var/task`` are read-only on Lambda: what comes without bytecode is compiled anew at every cold start. Bytecode belongs to one minor
version. It is marked as unchecked (PEP 552), since unpacking gives the source another time stamp than it was compiled with.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from layers.other_versions import find_python

# docs/layers.md, "Without bytecode", has the table and the command.
MEASURED_COST = "NumPy's import takes 4 times as long, Pillow's, mxnet's and FastAPI's 2 to 3 times: 0.3 to 0.9 s more at every cold start"

PROGRAM = Path(__file__).with_name("compiling.py")


def python_for(version: str, environ: Mapping[str, str]) -> str:
    """The interpreter that compiles for this version: one that is found by its name, or this one.

    Raises:
        SystemExit: None is here; says how to get one, and what goes without.
    """
    found = find_python(version, environ)
    if found is None and version == f"{sys.version_info.major}.{sys.version_info.minor}":
        return sys.executable
    if found is None:
        raise SystemExit(
            f"Bytecode for Python {version} needs a python{version}, and there is none on PATH or in pyenv. Get one (pyenv install {version}, "
            f"or apt-get install python{version}), or go on without: --no-bytecode. Without it {MEASURED_COST}"
        )
    return found


def compile_folder(python: str, folder: Path, seen_as: str, *, alone: bool, documented: bool = True) -> None:
    """Compile every Python file below the folder.

    Args:
        python: The interpreter.
        folder: Where the files are now.
        seen_as: Where they will be on Lambda; tracebacks name files by it.
        alone: Whether bytecode takes the source's place instead of standing beside it.
        documented: Whether bytecode that stands alone keeps docstrings.
    """
    shipped = ("alone" if documented else "bare") if alone else "beside"
    environ = {"PATH": os.environ.get("PATH", ""), "PYTHONHASHSEED": "0"}
    done = subprocess.run(
        [python, "-S", "-s", "-P", str(PROGRAM), str(folder), seen_as, shipped],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"{python} cannot compile {folder}: {done.stderr.strip()[-800:]}")
