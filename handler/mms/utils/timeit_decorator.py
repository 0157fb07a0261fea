"""``mms.utils.timeit_decorator`` (MMS 0.4)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from time import perf_counter, process_time
from typing import Any

logger = logging.getLogger(__name__)


def timeit(func: Callable[..., Any]) -> Callable[..., Any]:
    """Log how long each call of a function takes. MMS printed it, by a clock that Python no longer has."""

    @wraps(func)
    def timed(*args: Any, **kwargs: Any) -> Any:
        started, cpu_started = perf_counter(), process_time()
        result = func(*args, **kwargs)
        elapsed, cpu = perf_counter() - started, process_time() - cpu_started
        logger.info("func: %r took %.4f s, and %.4f s of CPU time", func.__name__, elapsed, cpu)
        return result

    return timed
