"""Which of several events of one object counts: S3 delivers them at least once, and in any order.

Contract: Amazon S3 User Guide, "Event message structure": sequencers of one key compare as text, once the shorter is filled up on its right with
zeros; they say nothing across keys, and nothing of an object whose event has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gluon_lambda.batch_records import ObjectRef


class Latest(NamedTuple):
    """Positions in what was given, ascending.

    Attributes:
        newest: The references that count.
        outdated: Those that are older than another one of their key, or its duplicate.
    """

    newest: tuple[int, ...]
    outdated: tuple[int, ...]


def latest(references: Sequence[ObjectRef]) -> Latest:
    """Which references count, the newest of each key, and which are outdated.

    Versions are objects of their own, and so are eTags without a sequencer: nothing says which is the newer one, and the read finds out.
    Of duplicates the one that has been handed on more often counts, or else the first.
    """
    newest: dict[tuple[str, str, str, str], int] = {}
    for position, reference in enumerate(references):
        known = newest.setdefault(_identity(reference), position)
        if _is_newer(reference, references[known]):
            newest[_identity(reference)] = position
    counted = tuple(sorted(newest.values()))
    return Latest(counted, tuple(sorted(set(range(len(references))).difference(counted))))


def is_older(sequencer: str, than: str) -> bool:
    """Whether the event with ``sequencer`` happened before the one with ``than``; both of one key."""
    length = max(len(sequencer), len(than))
    return sequencer.upper().ljust(length, "0") < than.upper().ljust(length, "0")


def _identity(reference: ObjectRef) -> tuple[str, str, str, str]:
    # Told apart from eTags: an event that has a sequencer compares with nothing that has none.
    generation = "in order" if reference.sequencer else f"eTag {reference.etag}"
    return (reference.bucket, reference.key, reference.version, generation)


def _is_newer(reference: ObjectRef, known: ObjectRef) -> bool:
    if is_older(known.sequencer, than=reference.sequencer):
        return True
    is_same = not is_older(reference.sequencer, than=known.sequencer)
    return is_same and reference.hand_overs > known.hand_overs
