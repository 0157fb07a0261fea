"""What a failed row or object is reported as."""

from __future__ import annotations

from gluon_lambda.errors import DeadlineExceeded, ObjectUnavailable, OutOfMemory, StoreUnavailable

TRANSIENT = "Transient"
PERMANENT = "Permanent"
_MAY_PASS = (ObjectUnavailable, StoreUnavailable, OutOfMemory, DeadlineExceeded, MemoryError)


def is_transient(error: BaseException) -> bool:
    """Whether the same may succeed when it is tried again, with more memory or at another time."""
    return isinstance(error, _MAY_PASS)


def failure_fields(error: BaseException) -> dict[str, str]:
    """The ``error`` of a result line: the error's class name, ``Transient`` or ``Permanent``, and its text."""
    failure_class = TRANSIENT if is_transient(error) else PERMANENT
    return {"type": type(error).__name__, "class": failure_class, "message": str(error)}
