"""Which trigger of batches an event came by. Loaded in INIT: what it takes for HTTP events is here, and the rest is loaded for batches."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gluon_lambda.event_sources.batch_source import BatchSource

# Every event of a batch source has one of them. A model's input may, too: the sources look closer.
MARKS = frozenset(
    {"Records", "tasks", "Items", "detail-type", "gluonContinuation", "keys", "bucket", "Bucket", "Event"}
)


def find_batch_source(event: Any) -> BatchSource | None:
    """The first batch source that the event matches; None for requests, direct invokes and what nobody knows."""
    if not isinstance(event, dict) or "requestContext" in event or MARKS.isdisjoint(event):
        return None
    return next((source for source in batch_sources() if source.matches(event)), None)


@cache
def batch_sources() -> tuple[BatchSource, ...]:
    """The triggers of batches, in the order in which they are tried; the least particular is last."""
    # Lazily: functions that answer HTTP do without them.
    from gluon_lambda.event_sources import asynchronous, s3_batch, sqs, step_functions

    return (sqs, s3_batch, asynchronous, step_functions)
