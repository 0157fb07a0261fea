"""Which event source an event came by."""

from __future__ import annotations

from typing import Any

from gluon_lambda.errors import UnsupportedEvent
from gluon_lambda.event_sources import EVENT_SOURCES
from gluon_lambda.event_sources.wire import EventSource


def select(event: Any) -> EventSource:
    """The first event source that the event matches.

    Raises:
        UnsupportedEvent: None does; the message lists the known ones.
    """
    for source in EVENT_SOURCES:
        if source.matches(event):
            return source
    known = "; ".join(source.TITLE for source in EVENT_SOURCES)
    keys = ", ".join(sorted(event)[:12])  # direct invokes match all that has no keys
    raise UnsupportedEvent(f"no event source takes an event with the keys {keys}. Known: {known}")
