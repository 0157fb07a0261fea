"""X-Ray trace ids, as every AWS front end adds them to a request that has none."""

from __future__ import annotations

import re
import secrets
import time


def trace_id(incoming: str = "") -> str:
    """The value of ``X-Amzn-Trace-Id``: ``incoming`` where it names a root, a fresh root otherwise."""
    if re.search(r"Root=1-[0-9a-f]{8}-[0-9a-f]{24}", incoming):
        return incoming
    return f"Root=1-{int(time.time()):08x}-{secrets.token_hex(12)}"
