"""Compiles a layer's Python files with the target's own Python.

``/opt`` and ``/var/task`` are read-only on Lambda: what comes without bytecode is compiled anew at every cold start. Bytecode belongs to one minor
version. It is marked as unchecked (PEP 552), since unpacking gives the source another time stamp than it was compiled with.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from layers.other_versions import find_python

# docs/layers.md, "Without bytecode", has the table and the command.
MEASURED_COST = (
    "NumPy's import takes 7 times as long, Pillow's 5 times, mxnet's 3 times: about a second more at every cold start"
)

# Run by the target's Python. One process, sorted, and strings hashed the same way each time: the order of a set's constants, and which strings are
# shared, show in the bytecode.
_COMPILE = """
import os, py_compile, sys
folder, seen_as, alone = sys.argv[1], sys.argv[2], sys.argv[3] == "alone"
paths = sorted(os.path.join(at, name) for at, _, names in os.walk(folder) for name in names if name.endswith(".py"))
for path in paths:
    py_compile.compile(
        path,
        cfile=path + "c" if alone else None,
        dfile=os.path.join(seen_as, os.path.relpath(path, folder)),
        doraise=True,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
    if alone:
        os.remove(path)
"""


def python_for(version: str, environ: Mapping[str, str]) -> str:
    """The interpreter that compiles for this version.

    Raises:
        SystemExit: None is here; says how to get one, and what goes without.
    """
    found = find_python(version, environ)
    if found is None:
        raise SystemExit(
            f"Bytecode for Python {version} needs a python{version}, and there is none on PATH or in pyenv. Get one (pyenv install {version}, "
            f"or apt-get install python{version}), or go on without: --no-bytecode. Without it {MEASURED_COST}"
        )
    return found


def compile_folder(python: str, folder: Path, seen_as: str, *, alone: bool) -> None:
    """Compile every Python file below the folder.

    Args:
        python: The interpreter.
        folder: Where the files are now.
        seen_as: Where they will be on Lambda; tracebacks name files by it.
        alone: Whether bytecode takes the source's place instead of standing beside it.
    """
    arguments = [str(folder), seen_as, "alone" if alone else "beside"]
    environ = {"PATH": os.environ.get("PATH", ""), "PYTHONHASHSEED": "0"}
    done = subprocess.run(
        [python, "-S", "-s", "-c", _COMPILE, *arguments], env=environ, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"{python} cannot compile {folder}: {done.stderr.strip()[-800:]}")
