"""Lambda's file system for a built function and layer, made of what is on this machine, and programs run in it.

    /var/task      the function's folder, read-only
    /opt           the layer's, read-only
    /var/lang      this machine's Python of the layer's version, read-only
    /var/runtime   awslambdaric and boto3, as they are on the package index, read-only
    /lib64         the libraries that Lambda's image has and those that Python itself needs, and no others
    /var/models    archives, read-only
    /home/…        empty, read-only
    /tmp           empty, writable

Nothing else is there, no shell either. It takes root to mount; the programs run as somebody else (``enter_root.py``).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from layers import wheels
from layers.build import BUILD, REQUIREMENTS, ROOT
from layers.other_versions import find_python
from layers.targets import Target
from tests.aws_rie import free_port, wait_for
from tests.layer.conftest import Layer
from tests.layer.enter_root import DEVICES

HOME = "home/sbx_user1051"
FOLDERS = (
    "var/task",
    "var/lang",
    "var/runtime",
    "opt",
    "var/models",
    HOME,
    "tmp",
    "proc",
    "dev",
    "lib64",
    "usr/local/bin",
)
RIE = "/usr/local/bin/aws-lambda-rie"
# Lambda's runtime interface client and its own packages, pinned with the tools.
CLIENT = ("awslambdaric", "simplejson", "snapshot-restore-py")


class LambdaRoot(NamedTuple):
    """The folder that becomes ``/``, and what is shown in it.

    Attributes:
        folder: The folder.
        shown: What of this machine is mounted, by where.
        python: Of the layer, as ``3.12``.
    """

    folder: Path
    shown: dict[str, str]
    python: str

    @property
    def interpreter(self) -> str:
        """Where Python is in there."""
        return f"/var/lang/bin/python{self.python}"

    def start(self, command: Sequence[str], variables: Mapping[str, str], output: Path) -> subprocess.Popen[bytes]:
        """Start a program in there; what it prints goes to a file out here."""
        place = {
            "root": str(self.folder),
            "read_only": self.shown,
            "command": [*command],
            "environment": {**environment(self.python), **variables},
        }
        entering = [sys.executable, str(Path(__file__).with_name("enter_root.py")), json.dumps(place)]
        entering = ["unshare", "--mount", "--propagation", "private", *entering]
        with output.open("wb") as file:
            return subprocess.Popen(entering, stdout=file, stderr=file, start_new_session=True)

    def run(self, code: str) -> str:
        """What a Python program prints in there."""
        output = self.folder.with_name("output")
        process = self.start([self.interpreter, "-c", code], {}, output)
        assert process.wait(120) == 0, output.read_text()
        return output.read_text()


def environment(python: str) -> dict[str, str]:
    """Lambda's defaults ("Defined runtime environment variables", AWS Lambda Developer Guide), and where its runtime looks for a layer's packages
    ("Packaging your layer content")."""
    packages = ("/var/task", f"/opt/python/lib/python{python}/site-packages", "/opt/python", "/var/runtime")
    return {
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        "HOME": f"/{HOME}",
        "PATH": "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin",
        "LD_LIBRARY_PATH": "/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib",
        "PYTHONPATH": ":".join(packages),
        "LAMBDA_TASK_ROOT": "/var/task",
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
        "AWS_EXECUTION_ENV": f"AWS_Lambda_python{python}",
        "AWS_LAMBDA_FUNCTION_NAME": "PredictFunction",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769",
        "AWS_REGION": "us-east-1",
    }


def lambda_root(layer: Layer, models: Path, rie: Path, folder: Path) -> LambdaRoot:
    """The root for a built layer.

    Args:
        layer: With the function beside it.
        models: What is shown as ``/var/models``.
        rie: AWS's emulator.
        folder: Is filled.
    """
    if os.geteuid() != 0 or not shutil.which("unshare"):
        pytest.skip("a file system of its own is mounted by root, with unshare")
    python = find_python(layer.python, os.environ)
    assert python is not None
    prefix = Path(_says(python, "-c", "import sys; print(sys.base_prefix)").strip())
    root = folder / "root"
    for name in FOLDERS:
        (root / name).mkdir(parents=True)
    for name in DEVICES:
        (root / "dev" / name).touch()
    copy_libraries(prefix / "bin" / f"python{layer.python}", layer.image.libraries, root / "lib64")
    shutil.copy(rie, root / RIE.lstrip("/"))
    shown = {
        "var/task": layer.function,
        "opt": layer.folder,
        "var/lang": prefix,
        "var/runtime": runtime(layer.target, folder / "runtime"),
        "var/models": models,
    }
    root.chmod(0o755)
    return LambdaRoot(root, {where: str(what.resolve()) for where, what in shown.items()}, layer.python)


def copy_libraries(python: Path, named: frozenset[str], into: Path) -> None:
    """Copy this machine's libraries of these names, and those that Python and its own modules load."""
    modules = python.parent.parent.glob("lib/python3.*/lib-dynload/*.so")
    loaded = re.findall(r"(/\S+) \(0x", _says("ldd", str(python), *map(str, modules)))
    known = dict(re.findall(r"^\s*(\S+) \([^)]*x86-64[^)]*\) => (\S+)$", _says("/sbin/ldconfig", "-p"), re.MULTILINE))
    for path in {*loaded, *(known[name] for name in named)}:
        shutil.copy(path, into)


def runtime(target: Target, folder: Path) -> Path:
    """What Lambda has in /var/runtime for this target, in ``folder``."""
    of_lambda = [each for each in wheels.pinned(REQUIREMENTS.read_text()) if each.name in wheels.OF_THE_RUNTIME]
    tools = wheels.pinned((ROOT / "requirements-dev.txt").read_text())
    of_lambda += [each for each in tools if each.name in CLIENT]
    for wheel in wheels.fetch(of_lambda, target, BUILD / "wheels" / target.name):
        assert list(wheels.unpack(wheel, folder))
    return folder


@contextmanager
def invocable(root: LambdaRoot, variables: Mapping[str, str]) -> Iterator[int]:
    """The port on which AWS's emulator takes invocations of the function, in there."""
    caller, api = free_port(), free_port()
    addresses = ["--runtime-interface-emulator-address", f"127.0.0.1:{caller}"]
    addresses += ["--runtime-api-address", f"127.0.0.1:{api}"]
    command = [RIE, *addresses, root.interpreter, "-m", "awslambdaric", "lambda_function.lambda_handler"]
    log = root.folder.with_name(f"log-{caller}")
    process = root.start(command, variables, log)
    try:
        wait_for(caller)
        yield caller
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)
        print(log.read_text())  # pytest shows it where a test failed


def _says(*command: str) -> str:
    plain = {"PATH": os.environ["PATH"], "LC_ALL": "C"}
    return subprocess.run(command, env=plain, capture_output=True, text=True, check=True).stdout
