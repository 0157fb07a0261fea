"""Log records: one JSON line each, with the request id, the model and whether this was a cold start."""

from __future__ import annotations

import logging
import time
from typing import Any

from gluon_lambda.telemetry.output import Output, Record

# The logger of lines that went to stdout or stderr.
PRINTED = "output"


class InvocationState:
    """What every record of the running invocation carries. Lambda runs one at a time in a sandbox, so there is one of these."""

    def __init__(self) -> None:
        """Start in the INIT phase: no request yet, and the first one will be a cold start."""
        self.request_id = ""
        self.model = ""
        self.cold_start = True
        self._first = True

    def begin(self, request_id: str) -> None:
        """Enter an invocation."""
        self.request_id, self.model = request_id, ""
        self.cold_start, self._first = self._first, False

    def ask(self, model: str) -> None:
        """Note which model the invocation asks."""
        self.model = model

    def fields(self) -> Record:
        """The fields for a record."""
        fields: Record = {}
        if self.request_id:
            fields["requestId"] = self.request_id
        if self.model:
            fields["model"] = self.model
        fields["coldStart"] = self.cold_start
        return fields


class JsonLogHandler(logging.Handler):
    """Writes ``logging``'s records, ours and those of archives' code, as JSON lines."""

    def __init__(self, output: Output, state: InvocationState) -> None:
        """Write to ``output``, with the fields of ``state``."""
        super().__init__()
        self._output = output
        self._state = state

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; a traceback is one field of it, not lines of its own."""
        self._output.write(self._record(record))

    def _record(self, record: logging.LogRecord) -> Record:
        fields: Record = {
            "timestamp": _timestamp(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": _message(record),
            **self._state.fields(),
        }
        if record.exc_info:
            fields["traceback"] = logging.Formatter().formatException(record.exc_info)
        extra: dict[str, Any] = getattr(record, "fields", {})
        return fields | extra


def route_logging(output: Output, state: InvocationState, level: str) -> None:
    """Make every logger of the process write JSON lines; replaces the handler that awslambdaric puts on the root logger."""
    root = logging.getLogger()
    for handler in tuple(root.handlers):
        if type(handler).__module__.startswith("awslambdaric"):
            root.removeHandler(handler)
    root.handlers = [handler for handler in root.handlers if not isinstance(handler, JsonLogHandler)]
    handler = JsonLogHandler(output, state)
    root.addHandler(handler)
    # With a handler of its own: what an archive's code printed must become records even where that code has set up logging anew.
    printed = logging.getLogger(PRINTED)
    printed.handlers, printed.propagate = [handler], False
    root.setLevel(level)
    logging.captureWarnings(capture=True)


def log_printed(line: str) -> None:
    """Make a record of a line that libmxnet or an archive's code wrote to stdout or stderr."""
    logging.getLogger(PRINTED).info("%s", line)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):
        # Arguments that do not fit the text are no reason for an archive's request to fail.
        return f"{record.msg} {record.args!r}"


def _timestamp(seconds: float) -> str:
    """ISO 8601 in UTC with milliseconds, as Lambda's own JSON records have it."""
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds % 1 * 1000):03d}Z"
