"""A CPU quota for a process, as Lambda's memory size sets one: a cgroup of its own, made and removed here.

Linux's CFS bandwidth control: in each period a group may use as much CPU time as its quota, on however many CPUs; then its threads stand
still until the next period begins. A group is a folder: cgroup v1 has ``cpu.cfs_quota_us`` and ``cpu.cfs_period_us``, v2 ``cpu.max``.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

# Where the CPU controllers of cgroup v1 and v2 are mounted.
ROOTS = (Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup/cpu,cpuacct"), Path("/sys/fs/cgroup"))
GROUP = "gluon-lambda-benchmark"


class QuotaUnavailable(Exception):
    """Raised where no quota may be set; says why."""


class Quota(NamedTuple):
    """How much CPU time a process gets.

    Attributes:
        vcpus: CPU time for each second; 0 stands for no quota at all.
        period_ms: How often it is given.
    """

    vcpus: float
    period_ms: int


class QuotaGroup:
    """A cgroup in which one process at a time runs; a context manager that removes it at its end."""

    def __init__(self, folder: Path) -> None:
        """Make the group.

        Args:
            folder: Where the group is to be; its parent is the mounted controller, or a group in it.

        Raises:
            QuotaUnavailable: It may not be made, or has no quota.
        """
        self.folder = folder
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise QuotaUnavailable(f"{folder}: no cgroup can be made ({error.strerror})") from error
        self._is_v1 = (folder / "cpu.cfs_quota_us").exists()
        if not self._is_v1 and not (folder / "cpu.max").exists():
            folder.rmdir()
            raise QuotaUnavailable(f"{folder}: the CPU controller is not there")

    def __enter__(self) -> QuotaGroup:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.folder.rmdir()

    def limit(self, quota: Quota) -> None:
        """Set the quota of the group."""
        period = quota.period_ms * 1000
        granted = round(quota.vcpus * period)
        if self._is_v1:
            # In this order every step is a quota that the kernel takes.
            self._write("cpu.cfs_quota_us", "-1")
            self._write("cpu.cfs_period_us", str(period))
            self._write("cpu.cfs_quota_us", str(granted) if granted else "-1")
        else:
            self._write("cpu.max", f"{granted or 'max'} {period}")

    def admit(self, process: int) -> None:
        """Put a process with all its threads under the quota."""
        self._write("cgroup.procs", str(process))

    def release(self, process: int) -> None:
        """Put it back where groups have none, or the parent's."""
        (self.folder.parent / "cgroup.procs").write_text(str(process), encoding="ascii")

    def _write(self, name: str, value: str) -> None:
        (self.folder / name).write_text(value, encoding="ascii")


def open_group(roots: tuple[Path, ...] = ROOTS) -> QuotaGroup:
    """Make the group under the first mounted controller that allows it.

    Raises:
        QuotaUnavailable: None does; says what each of them lacks.
    """
    reasons = []
    for root in roots:
        if not root.is_dir():
            continue
        try:
            return QuotaGroup(root / f"{GROUP}-{os.getpid()}")
        except QuotaUnavailable as error:
            reasons.append(str(error))
    raise QuotaUnavailable("; ".join(reasons) or "no cgroup file system is mounted")
