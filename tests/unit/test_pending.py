"""Calls in other threads: what waits for them gets what they returned or raised, and nothing is kept longer than it is needed."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from contextlib import suppress

import pytest

from gluon_lambda.pending import Pending, begin


class Given:
    """An argument whose life can be watched."""


class Odd(Exception):
    """An archive may raise what counts as false."""

    def __bool__(self) -> bool:
        return False


@pytest.fixture
def no_collector() -> Iterator[None]:
    """What goes away now does so by itself, not because somebody looked for garbage."""
    gc.disable()
    yield
    gc.enable()


def raising(error: BaseException) -> None:
    raise error


def test_the_result_is_what_the_call_returned() -> None:
    pending = begin("adds", lambda a, b: a + b, 1, 2)
    assert (pending.result(), pending.result(), pending.error) == (3, 3, None)


def test_the_call_runs_in_a_daemon_thread_of_the_given_name() -> None:
    thread = begin("named", threading.current_thread).result()
    assert (thread.name, thread.daemon) == ("named", True)
    assert thread is not threading.current_thread()


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(3), KeyboardInterrupt(), GeneratorExit(), Odd()])
def test_whatever_the_call_raises_is_raised_where_it_is_waited_for(error: BaseException) -> None:
    pending = begin("raises", raising, error)
    for _ in range(2):
        with pytest.raises(type(error)) as raised:
            pending.result()
        assert raised.value is error
    assert pending.error is error
    assert pending.wait(0)


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(3), KeyboardInterrupt()])
def test_nothing_is_raised_in_the_thread_that_makes_the_call(error: BaseException) -> None:
    pending = Pending(raising, error)
    pending.run()
    assert pending.error is error


def test_a_raised_error_still_tells_where_it_came_from() -> None:
    pending = begin("raises", raising, ValueError("x"))
    with pytest.raises(ValueError, match="x") as raised:
        pending.result()
    assert raised.traceback[-1].name == "raising"


def test_waiting_says_whether_the_call_has_ended() -> None:
    gate = threading.Event()
    pending = begin("waits", gate.wait)
    assert not pending.wait(0)
    assert not pending.wait(0.001)
    assert pending.error is None
    gate.set()
    assert pending.wait()
    assert pending.wait(0)
    assert pending.result() is True


def test_several_threads_may_wait_for_one_call() -> None:
    gate = threading.Event()
    pending = begin("waits", gate.wait)
    waiters = [begin("waiter", pending.result) for _ in range(5)]
    assert not any(waiter.wait(0) for waiter in waiters)
    gate.set()
    assert [waiter.result() for waiter in waiters] == [True] * 5


@pytest.mark.usefixtures("no_collector")
def test_what_the_call_was_given_is_let_go_when_it_has_ended() -> None:
    given = Given()
    watched = weakref.ref(given)
    pending = Pending(lambda _: "done", given)
    del given
    assert watched() is not None
    pending.run()
    assert watched() is None
    assert pending.result() == "done"


@pytest.mark.usefixtures("no_collector")
def test_what_a_failed_call_was_given_goes_with_its_error() -> None:
    def fail(_given: Given) -> None:
        raise ValueError("x")

    given = Given()
    watched = weakref.ref(given)
    pending = Pending(fail, given)
    del given
    pending.run()
    with suppress(ValueError):
        pending.result()
    del pending
    assert watched() is None
