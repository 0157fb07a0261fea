"""The JSON by which a function's error is told, in words."""

from __future__ import annotations

import json


def in_words(payload: bytes) -> str:
    """``ErrorType: message``; what is no such JSON as it is."""
    try:
        error = json.loads(payload)
        return f"{error['errorType']}: {error['errorMessage']}"
    except (ValueError, KeyError, TypeError):
        return payload.decode(errors="replace")
