"""Turns a folder into the root of a file system of its own, and runs a program in it as nobody in particular. It is run by itself, as root:

    unshare --mount --propagation private python tests/layer/enter_root.py PLACE

PLACE is a JSON object with the folder (``root``), what is mounted read-only and where (``read_only``), and the ``command``. All that is writable is
/tmp, as on Lambda, and there is no /dev/shm.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

# Lambda's own, by name and number.
USER, GROUP = 993, 990
DEVICES = ("null", "zero", "full", "random", "urandom")
TMP_MB = 512


def mount(source: str | Path, target: Path, *options: str) -> None:
    """Mount, or stop with mount's own words."""
    subprocess.run(["mount", *options, str(source), str(target)], check=True)


def read_only(source: str | Path, target: Path) -> None:
    """Show ``source`` at ``target``, to be read and never written."""
    mount(source, target, "--bind")
    mount("none", target, "-o", "remount,bind,ro,nosuid")


def lay_out(root: Path, shown: Mapping[str, str]) -> None:
    """Mount everything below the root, and the root over itself so that it can be read-only, too."""
    mount(root, root, "--bind")
    for target, source in shown.items():
        read_only(source, root / target)
    for name in DEVICES:
        mount(f"/dev/{name}", root / "dev" / name, "--bind")
    mount("/proc", root / "proc", "--rbind")
    mount("tmpfs", root / "tmp", "-t", "tmpfs", "-o", f"size={TMP_MB}m,mode=1777,nosuid,nodev")
    mount("none", root, "-o", "remount,bind,ro")


def become_nobody(root: Path) -> None:
    """Leave the file system of this machine, and root's rights."""
    os.chroot(root)
    os.chdir("/var/task")
    os.setgroups([])
    os.setresgid(GROUP, GROUP, GROUP)
    os.setresuid(USER, USER, USER)


def main(told: str) -> None:
    """Do it."""
    place = json.loads(told)
    root = Path(place["root"])
    lay_out(root, place["read_only"])
    become_nobody(root)
    os.execve(place["command"][0], place["command"], place["environment"])


if __name__ == "__main__":
    main(sys.argv[1])
