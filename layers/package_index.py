"""Runs pip, which fetches what a build is made of."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable

NO_PIP = (
    f"{sys.executable} has no pip, which fetches what the layer is made of. Install it (apt-get install python3-pip, or "
    f"{sys.executable} -m ensurepip), or take a Python that has it: make setup makes one in .venv"
)


def complaint(command: str, arguments: Iterable[str]) -> str | None:
    """What pip said where it failed; None where it did as it was told.

    Args:
        command: ``download`` or ``install``. Nothing but wheels is looked for, and no dependencies.
        arguments: Of it.

    Raises:
        SystemExit: There is no pip.
    """
    asked = [sys.executable, "-m", "pip", command, "--quiet", "--disable-pip-version-check", "--no-deps"]
    done = subprocess.run([*asked, "--only-binary=:all:", *arguments], capture_output=True, text=True, check=False)
    if "No module named pip" in done.stderr:
        raise SystemExit(NO_PIP)
    return done.stderr.strip() or f"pip ended with {done.returncode}" if done.returncode else None
