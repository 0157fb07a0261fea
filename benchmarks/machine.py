"""What has to be known of the machine and the interpreters to read the figures; no names of hosts, users or folders."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
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


def busy_share(seconds: float) -> float:
    """The share of all CPUs' time that is in use during the next ``seconds``, in which the caller does nothing.

    Two threads on a machine with one CPU free are slower than one: figures from a busy machine compare nothing.
    """
    idle_before, total_before = cpu_ticks(Path("/proc/stat").read_text(encoding="ascii"))
    time.sleep(seconds)
    idle, total = cpu_ticks(Path("/proc/stat").read_text(encoding="ascii"))
    return 1 - (idle - idle_before) / max(1, total - total_before)


def cpu_ticks(stat: str) -> tuple[int, int]:
    """Idle (I/O wait included) and total ticks out of the text of ``/proc/stat``; see proc(5)."""
    # guest and guest_nice, behind the first eight, are counted in user and nice already.
    ticks = [int(field) for field in stat.split("\n", 1)[0].split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


def versions_of(python: Path) -> dict[str, str]:
    """The versions of an interpreter and of those packages that count."""
    command = [str(python), "-c", _ASK_VERSIONS, *PACKAGES]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    versions: dict[str, str] = json.loads(output)
    return versions
