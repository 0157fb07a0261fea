"""What has to be known of the machine and the interpreters to read the figures; no names of hosts, users or folders."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from pathlib import Path

PACKAGES = ("awslambdaric", "boto3", "fastapi", "mangum", "mxnet", "numpy", "pillow")

_ASK_VERSIONS = """
import importlib.metadata as metadata, json, platform, sys
installed = {d.metadata["Name"].lower(): d.version for d in metadata.distributions()}
versions = {name: installed[name] for name in sys.argv[1:] if name in installed}
print(json.dumps({"python": platform.python_version(), **versions}))
"""


def machine_facts() -> dict[str, str | int]:
    """Processor, usable CPUs, memory and kernel."""
    return {
        "processor": field_of(Path("/proc/cpuinfo"), "model name"),
        "cpus": len(os.sched_getaffinity(0)),
        "memory": field_of(Path("/proc/meminfo"), "MemTotal"),
        "system": platform.system(),
        "kernel": platform.release(),
        "architecture": platform.machine(),
    }


def field_of(path: Path, name: str) -> str:
    """The first ``name: value`` of a file in /proc, or ``unknown``."""
    for line in path.read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "unknown"


def versions_of(python: Path) -> dict[str, str]:
    """The versions of an interpreter and of those packages that count."""
    command = [str(python), "-c", _ASK_VERSIONS, *PACKAGES]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    versions: dict[str, str] = json.loads(output)
    return versions
