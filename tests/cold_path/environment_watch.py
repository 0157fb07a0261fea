"""Notes each name that is added to the process environment, or taken from it, while there is more than one thread.

To be imported first of all (as ``sitecustomize``); the names go, a line each, into the file that ENVIRONMENT_WATCH names.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

_NOTES = os.open(os.environ["ENVIRONMENT_WATCH"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    # Asked before it is done (Python's table of audit events); ``os.environ`` itself is brought up to date after that.
    if event not in ("os.putenv", "os.unsetenv") or threading.active_count() == 1:
        return
    name = os.fsdecode(arguments[0])
    if event == "os.unsetenv" or name not in os.environ:
        os.write(_NOTES, f"{event} {name}\n".encode())


sys.addaudithook(_watch)
