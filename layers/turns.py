"""Lets one build at a time use what all of them share: downloaded wheels, the compiler, and the folder of a version."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def turn(lock: Path) -> Iterator[None]:
    """Wait until nobody else has the lock, and keep it. The system gives it back when the process ends, however it does."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"Another build is under way here ({lock}): waiting until it is done", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
