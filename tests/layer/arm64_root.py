"""A built arm64 layer and its function as Lambda lays them out, and programs run on them by an emulated processor.

    /usr /lib      a Python for arm64, and the libraries that it and Lambda's image have (layers/arm64_python.py)
    /var/task      the function's folder
    /opt           the layer's
    /var/runtime   awslambdaric and boto3, as they are on the package index
    /var/models    archives
    /proc/cpuinfo  a Graviton2's; qemu would show this machine's

qemu shows these to the program before this machine's own files; no root is needed, and nothing is kept from being written to.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from layers.arm64_python import Emulated
from tests.aws_rie import free_port, wait_for
from tests.layer.conftest import Layer
from tests.layer.lambda_root import environment, runtime

# proc(5), on a Neoverse N1; the part's number is in Arm's "Neoverse N1 Core Technical Reference Manual", MIDR_EL1.
CPUINFO = """\
processor\t: 0
BogoMIPS\t: 243.75
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp ssbs
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x3
CPU part\t: 0xd0c
CPU revision\t: 1

"""


class Arm64Root(NamedTuple):
    """What is before this machine's root.

    Attributes:
        folder: The folder that stands for ``/``.
        emulated: The Python.
    """

    folder: Path
    emulated: Emulated

    @property
    def command(self) -> list[str]:
        """What runs Python in there."""
        return self.emulated.command(self.folder)

    @property
    def environment(self) -> dict[str, str]:
        """Lambda's."""
        return environment(self.emulated.python)

    def run(self, *arguments: str) -> str:
        """What Python prints in there."""
        done = subprocess.run(
            [*self.command, *arguments], env=self.environment, capture_output=True, text=True, check=False, timeout=600
        )
        assert done.returncode == 0, f"{done.stdout}{done.stderr}"
        return done.stdout


def arm64_root(layer: Layer, emulated: Emulated, models: Path, folder: Path) -> Arm64Root:
    """Lay out a built layer with the function beside it."""
    root = folder / "root"
    (root / "var").mkdir(parents=True)
    shown = {each.name: each for each in emulated.root.iterdir()} | {
        "var/task": layer.function,
        "opt": layer.folder,
        "var/runtime": runtime(layer.target, folder / "runtime"),
        "var/models": models,
    }
    for where, what in shown.items():
        (root / where).symlink_to(what.resolve())
    (root / "proc").mkdir()
    (root / "proc" / "cpuinfo").write_text(CPUINFO)
    return Arm64Root(root, emulated)


@contextmanager
def invocable(root: Arm64Root, rie: Path, variables: Mapping[str, str], log: Path) -> Iterator[int]:
    """The port on which AWS's emulator, a program of this machine's, takes invocations of the function in there."""
    caller, api = free_port(), free_port()
    addresses = ["--runtime-interface-emulator-address", f"127.0.0.1:{caller}"]
    addresses += ["--runtime-api-address", f"127.0.0.1:{api}"]
    command = [str(rie), *addresses, *root.command, "-m", "awslambdaric", "lambda_function.lambda_handler"]
    environ = {**root.environment, "AWS_LAMBDA_FUNCTION_TIMEOUT": "300", **variables}
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environ, stdout=output, stderr=output, start_new_session=True)
    try:
        wait_for(caller)
        yield caller
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)
        print(log.read_text())  # pytest shows it where a test failed
