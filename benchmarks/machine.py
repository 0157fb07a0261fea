"""What has to be known of the machine and the interpreters to read the figures; no names of hosts, users or folders."""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
from pathlib import Path
from typing import NamedTuple

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


class CpuTime(NamedTuple):
    """CPU time since the machine started, in seconds summed over its CPUs.

    Attributes:
        total: All of it.
        busy: Not idle and not waiting for disks.
        own: This process's, and that of the children it has waited for.
    """

    total: float
    busy: float
    own: float


def cpu_time() -> CpuTime:
    """The CPU time until now."""
    busy, total = cpu_ticks(Path("/proc/stat").read_text(encoding="ascii"))
    ticks_a_second = os.sysconf("SC_CLK_TCK")
    usages = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    own = sum(usage.ru_utime + usage.ru_stime for usage in usages)
    return CpuTime(total / ticks_a_second, busy / ticks_a_second, own)


def cpu_ticks(stat: str) -> tuple[int, int]:
    """Busy and total ticks out of the text of ``/proc/stat``; see proc(5)."""
    # guest and guest_nice, behind the first eight, are counted in user and nice already.
    ticks = [int(field) for field in stat.split("\n", 1)[0].split()[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


def foreign_share(before: CpuTime, after: CpuTime) -> float:
    """The share of all CPUs' time that others than this process and its children took between two looks.

    Two threads on a machine with one CPU free are slower than one: figures from a busy machine compare nothing.
    """
    foreign = (after.busy - before.busy) - (after.own - before.own)
    return max(0.0, foreign / max(after.total - before.total, 0.01))


def versions_of(python: Path) -> dict[str, str]:
    """The versions of an interpreter and of those packages that count."""
    command = [str(python), "-c", _ASK_VERSIONS, *PACKAGES]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    versions: dict[str, str] = json.loads(output)
    return versions
