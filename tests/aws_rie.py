"""AWS's own runtime interface emulator (RIE), the oracle for ours.

The binary comes with the aws-sam-cli wheel, fetched from the package index into a temporary folder; it needs no Docker.
"""

from __future__ import annotations

import platform
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

_WHEEL = "aws-sam-cli==1.170.0"


def fetch_rie(folder: Path) -> Path:
    """The binary, in ``folder``; the test is skipped where it cannot be had."""
    if platform.machine() != "x86_64":
        pytest.skip("the wheel's binary for this machine is not tried")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), _WHEEL]
    if subprocess.run(command, check=False).returncode:
        pytest.skip(f"{_WHEEL} cannot be fetched")
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        binary = Path(wheel.extract("samcli/local/rapid/aws-lambda-rie-x86_64", folder))
    binary.chmod(0o755)
    return binary


def free_port() -> int:
    """A port on which nothing listens now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def wait_for(port: int) -> None:
    """Until something listens on ``port``."""
    until = time.monotonic() + 10
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert time.monotonic() < until, f"nothing listens on {port}"
            time.sleep(0.05)
