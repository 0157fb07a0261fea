"""Ctrl-C, ``kill`` and a closed terminal, all as one exception, so that one ``finally`` cleans up after each of them."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from types import FrameType
from typing import TypeVar

T = TypeVar("T")

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def raise_on_signals() -> None:
    """Raise ``KeyboardInterrupt`` in the main thread on SIGINT, SIGTERM and SIGHUP."""
    for number in _SIGNALS:
        # A shell starts background jobs with SIGINT ignored, and they are to be stopped all the same; nohup's wish is kept.
        if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def in_thread(work: Callable[[], T]) -> Future[T]:
    """Do ``work`` in a thread of its own, so that a signal interrupts the waiting and never the starting of a process."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - handed over to whoever waits, whatever it is
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Ignore those signals: a second Ctrl-C must not leave a process behind."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
