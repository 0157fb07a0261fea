"""Bytecode as a built package ships it, and as one that forgot it would find it on Lambda."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from benchmarks.contenders import Contender

# What Lambda's own image holds, and hence compiled, whatever a package ships. Prints pairs: folder of .py files, __pycache__.
_FIND_IN_IMAGE = """
import importlib.util, json, os, sysconfig
standard = sysconfig.get_path("stdlib")
skipped = {"site-packages", "test", "idlelib", "lib2to3", "__pycache__"}
folders = []
for folder, inner, _ in os.walk(standard):
    inner[:] = [name for name in inner if name not in skipped]
    folders.append(folder)
for name in ("awslambdaric", "simplejson", "snapshot_restore_py"):
    spec = importlib.util.find_spec(name)
    for root in (spec and spec.submodule_search_locations) or ():
        folders += [folder for folder, _, _ in os.walk(root) if "__pycache__" not in folder]
print(json.dumps([os.path.abspath(folder) for folder in folders]))
"""


def compile_bytecode(contender: Contender) -> None:
    """Compile a contender's own files, as a built package ships them; its packages were compiled when installed."""
    command = [str(contender.python), "-m", "compileall", "-q", str(contender.folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def bytecode_of_the_image(python: Path, target: Path) -> Path:
    """A folder for ``PYTHONPYCACHEPREFIX`` with the bytecode that Lambda's image brings, and no other.

    Args:
        python: The interpreter whose standard library and awslambdaric it is for.
        target: The folder; what it held is removed.
    """
    shutil.rmtree(target, ignore_errors=True)
    output = subprocess.run([str(python), "-c", _FIND_IN_IMAGE], check=True, capture_output=True, text=True).stdout
    for folder in map(Path, json.loads(output)):
        link_bytecode(folder, target / folder.relative_to("/"))
    return target


def link_bytecode(folder: Path, place: Path) -> None:
    """Make links in ``place`` to the bytecode files of the modules in ``folder``."""
    compiled = folder / "__pycache__"
    if not compiled.is_dir():
        return
    place.mkdir(parents=True, exist_ok=True)
    for file in compiled.glob("*.pyc"):
        (place / file.name).symlink_to(file)
