"""The records that every part of the emulator shares. A leaf."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

#: Lambda's limits for synchronous invocations, in bytes (AWS: "Lambda quotas"; the response's is what the Runtime API names).
MAX_REQUEST_BYTES = 6_291_456
MAX_RESPONSE_BYTES = 6_291_556
#: Of an asynchronous invocation's event, in bytes.
MAX_EVENT_BYTES = 1_048_576


class FunctionConfiguration(NamedTuple):
    """One function of the template, resolved.

    Attributes:
        name: Its logical id, which is its name here.
        handler: ``module.function``, relative to ``code_folder``.
        code_folder: Absolute path; Lambda's ``/var/task``.
        memory_mb: ``MemorySize``.
        timeout_seconds: ``Timeout``.
        environment: ``Environment.Variables``.
        log_format: ``LoggingConfig.LogFormat``: Text or JSON; how awslambdaric writes what it logs itself.
    """

    name: str
    handler: str
    code_folder: str
    memory_mb: int
    timeout_seconds: float
    environment: Mapping[str, str]
    log_format: str = "Text"


class Invocation(NamedTuple):
    """One event on its way to the function.

    Attributes:
        request_id: Lambda's id of the invocation.
        event: The JSON text, as bytes.
        trace_id: What ``X-Amzn-Trace-Id`` holds.
        client_context: JSON text (decoded), or ``""``.
    """

    request_id: str
    event: bytes
    trace_id: str
    client_context: str = ""


class Ending(Enum):
    """How an invocation ended; the value is what REPORT lines and error types build on."""

    SUCCESS = "success"
    FUNCTION_ERROR = "function error"
    INIT_ERROR = "init error"
    TIMEOUT = "timeout"
    EXIT = "exit"
    RESPONSE_TOO_LARGE = "response too large"


class Outcome(NamedTuple):
    """What the caller of an invocation gets.

    Attributes:
        ending: How it ended.
        payload: The function's response, or the JSON that describes its error.
        log_tail: The last 4 KB of the invocation's log.
    """

    ending: Ending
    payload: bytes
    log_tail: bytes = b""
