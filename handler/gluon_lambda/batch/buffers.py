"""Large buffers of their own mapping: the system has them back the moment nobody uses them.

What malloc takes for them would stay with it, in the arena of each thread that has ever asked for one, and memory grow with an object's length.
"""

from __future__ import annotations

import mmap


def buffer_of(size: int) -> memoryview:
    """``size`` bytes to write to, zero at first; pages that are not written to cost nothing."""
    mapped = mmap.mmap(-1, max(size, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return memoryview(mapped)[:size]
