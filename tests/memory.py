"""A process with little memory left, for tests of what happens when it runs out."""

from __future__ import annotations

import gc
import resource
from collections.abc import Iterator
from contextlib import contextmanager

from gluon_lambda.runtime.libmxnet import return_free_memory

MEGABYTE = 1 << 20


@contextmanager
def little_memory(spare_bytes: int) -> Iterator[None]:
    """While the body runs, this process cannot get more than ``spare_bytes`` beyond what it uses."""
    gc.collect()
    return_free_memory()
    with open("/proc/self/statm") as file:
        held = int(file.read().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (held + spare_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
