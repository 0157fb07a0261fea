"""What is left of a process that native code ends: where each of its threads was, on stderr.

Without it Lambda's log says ``Runtime exited with error: exit status 255`` and no more: libmxnet answers a segmentation fault with one line, which
is lost where stdout and stderr are held back, and with ``exit(-1)``, which runs the destructors of a process that cannot be trusted any longer.
"""

from __future__ import annotations

import faulthandler
import os
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
_STDERR = 2


def told_on(descriptor: int, open_library: Callable[[], T]) -> T:
    """Open a library, and have crashes told on ``descriptor`` from here on, those of its opening included.

    The signals that end a process (SIGSEGV, SIGFPE, SIGABRT, SIGBUS, SIGILL) then end it as they would without anybody's handler.
    """
    faulthandler.enable(descriptor)
    try:
        return open_library()
    finally:
        # The library has put handlers of its own in the place of these.
        faulthandler.disable()
        faulthandler.enable(descriptor)


def stderr_that_stays() -> int:
    """A descriptor of what stderr is now, whatever becomes of stderr."""
    return os.dup(_STDERR)
