"""``poll``: an SQS queue as the function's event source, until Ctrl-C or until it is empty."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from http import HTTPStatus
from typing import BinaryIO, NamedTuple

from local_emulator.commands.interrupts import in_thread, raise_on_signals, undisturbed
from local_emulator.commands.options import configure, prepare
from local_emulator.error_payload import in_words
from local_emulator.errors import InitFailed, UsageError
from local_emulator.front_ends import invoke_api
from local_emulator.function import Function
from local_emulator.http_server import HttpResponse, HttpServer, Service
from local_emulator.records import Ending, FunctionConfiguration
from local_emulator.triggers.asynchronous import AsynchronousInvokes
from local_emulator.triggers.event_source import Quiet, check_mapping, remarks
from local_emulator.triggers.poller import Poller, Polling
from local_emulator.triggers.queue import SqsQueue, open_queue, with_credentials
from local_emulator.triggers.reports import Report, Tally, counted, line, summary

_IDLE_SECONDS = 60.0
_MAX_BODY_BYTES = 32 << 20


class _Source(NamedTuple):
    """A queue, the function that it feeds, and what is between them."""

    queue: SqsQueue
    polling: Polling
    function: Function
    server: HttpServer
    asynchronous: AsynchronousInvokes
    poller: Poller
    tally: Tally

    def close(self) -> None:
        self.tally.close()
        self.function.close()
        self.server.server_close()


def poll(options: argparse.Namespace) -> int:
    """Feed the function from a queue. Returns the exit code: 1 where an event was given up, 130 where ``--until-empty`` was interrupted.

    Raises:
        UsageError: An option cannot be used, or the queue cannot.
        InitFailed: The function does not start.
    """
    shell = with_credentials(os.environ, endpoint_url=options.endpoint_url)
    configuration = configure(options, shell)
    polling = _polling(options)
    queue = open_queue(options.queue, endpoint_url=options.endpoint_url, shell=shell)
    check_mapping(queue.facts, polling, configuration.timeout_seconds)
    with _function_log(options.function_log) as log:
        source = _source(options, configuration, (queue, polling), shell, log)
        return _until_over(source, options.until_empty)


def _polling(options: argparse.Namespace) -> Polling:
    polling = Polling(options.batch_size, options.window, options.concurrency)
    # To notice within less than a second that nothing is left, SQS has to be asked without waiting.
    hurried = options.until_empty is not None and options.until_empty < 1
    return polling._replace(wait_seconds=0) if hurried else polling


def _source(
    options: argparse.Namespace,
    configuration: FunctionConfiguration,
    polled: tuple[SqsQueue, Polling],
    shell: Mapping[str, str],
    log: BinaryIO | None,
) -> _Source:
    queue, polling = polled
    tally = Tally(_log_report)
    # The endpoint's port is in the function's environment, so it is there first.
    target: Future[Function] = Future()
    asynchronous = AsynchronousInvokes(lambda invocation: target.result().invoke(invocation), tally.add)
    server = HttpServer("127.0.0.1", 0, _service(target, asynchronous))
    machine = {**shell, **_endpoints(options.endpoint_url, server.port)}
    function = prepare(configuration, template=options.template, shell=machine, sandboxes=polling.concurrency, log=log)
    target.set_result(function)
    poller = Poller(queue, function.invoke, polling, report=tally.add, log=_log)
    return _Source(queue, polling, function, server, asynchronous, poller, tally)


def _service(target: Future[Function], asynchronous: AsynchronousInvokes) -> Service:
    return Service(
        lambda request: invoke_api.answer(request, target.result(), asynchronous.accept),
        lambda status: HttpResponse(HTTPStatus(status)),
        _MAX_BODY_BYTES,
        _IDLE_SECONDS,
    )


def _endpoints(endpoint_url: str, port: int) -> dict[str, str]:
    """Where boto3 in the function finds the services, and the function itself."""
    elsewhere = {f"AWS_ENDPOINT_URL_{service}": endpoint_url for service in ("S3", "SQS")} if endpoint_url else {}
    return {**elsewhere, "AWS_ENDPOINT_URL_LAMBDA": f"http://127.0.0.1:{port}"}


def _until_over(source: _Source, until_empty: float | None) -> int:
    raise_on_signals()
    dead_before, interrupted = source.queue.dead_letters() or 0, False
    try:
        in_thread(lambda: _run(source, _end(source, until_empty))).result()
    except KeyboardInterrupt:
        interrupted = True
        _log(f"Ending.{_cut_off(source)}")
    finally:
        with undisturbed():
            source.close()
    dead = source.queue.dead_letters()
    print(f"\n{summary(source.tally.totals, dead_letters=_dead_letters(source.queue, dead))}", flush=True)
    if interrupted:
        return 0 if until_empty is None else 130
    return int(bool(source.tally.totals.given_up) or (dead or 0) > dead_before)


def _run(source: _Source, is_over: Callable[[], bool]) -> None:
    source.server.start()
    # Now, and not with the first message: where it cannot start, every message would fail and count towards its end.
    failure = source.function.initialise()
    if failure is not None and failure.ending is not Ending.TIMEOUT:
        raise InitFailed(f"INIT failed, so nothing is taken from the queue. {in_words(failure.payload)}")
    _log(_announcement(source))
    for remark in remarks(source.queue.facts, source.polling, source.function.configuration.timeout_seconds):
        _log(f"poll: {remark}")
    source.poller.run(is_over=is_over)


def _end(source: _Source, until_empty: float | None) -> Callable[[], bool]:
    if until_empty is None:
        return lambda: False
    # In this order: an asynchronous invoke that ends in between may have sent a message.
    return Quiet(lambda: not source.asynchronous.pending and not source.queue.left(), until_empty)


def _announcement(source: _Source) -> str:
    name, polling = source.function.configuration.name, source.polling
    return (
        f"poll: {name} takes batches of {polling.batch_size} from {source.queue.facts.url}, {polling.concurrency} at a time "
        f"(Ctrl-C ends it); Invoke API on http://127.0.0.1:{source.server.port}"
    )


def _cut_off(source: _Source) -> str:
    batches, events = source.poller.under_way, source.asynchronous.pending
    cut = [counted(batches, "batch", "batches")] * bool(batches) + [counted(events, "asynchronous invoke")] * bool(
        events
    )
    return f" Cut off: {' and '.join(cut)}." if cut else ""


def _dead_letters(queue: SqsQueue, count: int | None) -> str:
    if not queue.facts.dead_letter_arn:
        return ""
    name = queue.facts.dead_letter_arn.rpartition(":")[2]
    return f"{name} cannot be asked" if count is None else f"{count:,} in {name}"


@contextlib.contextmanager
def _function_log(path: str) -> Iterator[BinaryIO | None]:
    if not path:
        yield None
        return
    try:
        file = open(path, "ab")  # noqa: SIM115 - opened here for its own error, closed below
    except OSError as error:
        raise UsageError(f"--function-log: cannot write {path}: {error.strerror}") from error
    with file:
        yield file


def _log_report(report: Report) -> None:
    _log(f"poll: {line(report)}")


def _log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
