"""``invoke``: one event through the function; its answer on stdout, its log on stderr."""

from __future__ import annotations

import argparse
import json
import os
import sys
import uuid

from local_emulator.commands.interrupts import in_thread, raise_on_signals, undisturbed
from local_emulator.commands.options import configure, prepare
from local_emulator.errors import UsageError
from local_emulator.front_ends.tracing import trace_id
from local_emulator.records import MAX_REQUEST_BYTES, Ending, Invocation, Outcome


def invoke(options: argparse.Namespace) -> int:
    """Invoke the function once. Returns 0, or 1 where the function failed.

    Raises:
        UsageError: An option or the event cannot be used.
    """
    event = _read_event(options.event)
    function = prepare(configure(options, os.environ), template=options.template, shell=os.environ)
    invocation = Invocation(str(uuid.uuid4()), event, trace_id())
    raise_on_signals()
    try:
        outcome = in_thread(lambda: function.invoke(invocation)).result()
    except KeyboardInterrupt:
        return 130
    finally:
        with undisturbed():
            function.close()
    return _print(outcome)


def _read_event(path: str) -> bytes:
    if not path:
        return b"{}"
    try:
        event = sys.stdin.buffer.read() if path == "-" else _read_file(path)
        json.loads(event)
    except OSError as error:
        raise UsageError(f"cannot read the event {path}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"the event {path} is not JSON: {error}") from error
    if len(event) > MAX_REQUEST_BYTES:
        raise UsageError(f"the event {path} holds {len(event)} bytes; Lambda takes {MAX_REQUEST_BYTES}")
    return event


def _read_file(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _print(outcome: Outcome) -> int:
    sys.stdout.buffer.write(outcome.payload + b"\n")
    sys.stdout.buffer.flush()
    return 0 if outcome.ending is Ending.SUCCESS else 1
