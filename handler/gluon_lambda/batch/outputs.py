"""The objects that one object's work ends in: results, errors, summary, in this order.

Each is written on condition that it is not there, and the first one counts. Errors and counts are those of the results that are stored,
whoever wrote them, so that outputs agree with one another even where rows failed in one run and not in the other.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from gluon_lambda.batch.buffers import buffer_of
from gluon_lambda.batch.lines import error_lines
from gluon_lambda.batch.objects import PRODUCER, Facts, ObjectStore, Pieces, stored_metadata
from gluon_lambda.batch.places import Place
from gluon_lambda.batch_records import ObjectRef
from gluon_lambda.errors import DeadlineExceeded, ObjectRefused
from gluon_lambda.types import Pairs

SCHEMA = 1

# The fields of a summary that tell of the runs. Its other fields, and every byte of results and errors, are the same for every run whose
# rows are answered alike.
OF_THE_RUNS = frozenset({"started", "finished", "milliseconds", "invocations"})

LINES_TYPE = "application/x-ndjson"
JSON_TYPE = "application/json"

# In the outputs' metadata, beside PRODUCER; the others stand with the results only.
INPUT = "gluon-lambda-input"
ROWS = "gluon-lambda-rows"
FAILED = "gluon-lambda-failed"
REFUSED = "gluon-lambda-refused"

# Large enough that S3's answer time does not count, small beside a net.
BLOCK_BYTES = 1 << 20
# S3 takes 2 KB of metadata, and a key of 1,024 bytes can be three times as long once it is percent-encoded.
_LONGEST_INPUT = 1500


class Work(NamedTuple):
    """What is to be done.

    Attributes:
        reference: The object.
        facts: What S3 says of it.
        model: The name that the model is served under.
        digest: The SHA-256 of its archive, as hex digits.
        batch_size: How many rows a micro-batch has, as long as no other run has settled it.
        producer: The function's name, for the outputs' metadata.
    """

    reference: ObjectRef
    facts: Facts
    model: str
    digest: str
    batch_size: int
    producer: str

    def described(self) -> dict[str, Any]:
        """The fields of plan and summary that say what the work is."""
        about = {"bucket": self.reference.bucket, "key": self.reference.key, "version": self.facts.version}
        return {
            "input": {**about, "etag": self.facts.etag, "size": self.facts.size},
            "model": self.model,
            "digest": self.digest,
        }


class Done(NamedTuple):
    """An object whose summary is written.

    Attributes:
        summary: The summary's content.
        uri: Where it lies.
    """

    summary: Mapping[str, Any]
    uri: str

    @property
    def rows(self) -> int:
        """How many rows the object has."""
        return int(self.summary["rows"])

    @property
    def failed(self) -> int:
        """How many of them are errors."""
        return int(self.summary["failed"])

    @property
    def refused(self) -> bool:
        """Whether the object could not be read, or not to its end; its last line says why."""
        return bool(self.summary.get("refused"))

    @property
    def outputs(self) -> Pairs:
        """S3 URIs by ``results``, ``errors`` and ``summary``."""
        named = (("results", self.summary["results"]), ("errors", self.summary["errors"]), ("summary", self.uri))
        return tuple((name, uri) for name, uri in named if uri)


class Tally(NamedTuple):
    """How many rows there are, how many of them are errors, and whether the last one says that the object cannot be read any further."""

    rows: int
    failed: int
    refused: bool = False


class Ending(NamedTuple):
    """What the end of an object's work needs to know of the runs.

    Attributes:
        started: When the first run began that is known of, in seconds since 1970.
        clock: Seconds since 1970.
        has_time: Whether there is time for another block.
        invocations: How many there have been.
    """

    started: float
    clock: Callable[[], float]
    has_time: Callable[[], bool]
    invocations: int


class Content:
    """Bytes that can be gone through as often as a store wants to send them."""

    def __init__(self, blocks: Callable[[], Iterator[bytes | memoryview]]) -> None:
        self._blocks = blocks

    def __iter__(self) -> Iterator[bytes | memoryview]:
        return self._blocks()


class Outputs:
    """One object's outputs, in a store."""

    def __init__(self, store: ObjectStore, place: Place, work: Work) -> None:
        self._store = store
        self._place = place
        self._work = work

    def done(self) -> Done | None:
        """The summary, if it is there; what is left of parts is removed then.

        Raises:
            ObjectError: As the store does; ObjectRefused, too, where it is no summary of ours.
        """
        done = self._read_summary()
        if done is not None:
            self.remove_parts()
        return done

    def write_all(self, content: Pieces, tally: Tally, ending: Ending, *, has_parts: bool) -> Done:
        """Write whatever is not there yet.

        Args:
            content: The results; to be gone through more than once.
            tally: What is in them.
            ending: What is known of the runs.
            has_parts: Whether the content comes from parts, which are to be removed then.

        Raises:
            DeadlineExceeded: ``ending.has_time`` says so.
            ObjectError: As the store does; ObjectRefused, too, where the results' place is taken by something else.
        """
        if not self._write_results(content, tally, look_first=has_parts):
            tally, size = self._stored_results()
            content = Content(lambda: self.blocks(self._place.results, size, ending.has_time))
        if tally.failed:
            self.write(self._place.errors, Content(lambda: error_lines(content)), LINES_TYPE)
        done = self._write_summary(tally, ending)
        if has_parts:
            self.remove_parts()
        return done

    def write(
        self,
        key: str,
        content: Pieces,
        content_type: str,
        counts: Mapping[str, str] | None = None,
    ) -> bool:
        """Write an object that says who made it, and of what; False where it is there already."""
        metadata = {PRODUCER: self._work.producer, INPUT: _input_text(self._work.reference), **(counts or {})}
        return self._store.write_new(self._place.bucket, key, content, content_type=content_type, metadata=metadata)

    def blocks(self, key: str, size: int, has_time: Callable[[], bool]) -> Iterator[memoryview]:
        """An object of ours, block by block, while there is time; raises DeadlineExceeded then. Each is valid until the next one is asked for."""
        buffer = buffer_of(min(BLOCK_BYTES, size))
        for start in range(0, size, BLOCK_BYTES):
            if not has_time():
                raise DeadlineExceeded(f"{self._place.uri(key)}: no time is left for byte {start:,} and what follows")
            yield self._store.read(ObjectRef(self._place.bucket, key), start, min(BLOCK_BYTES, size - start), buffer)

    def remove_parts(self) -> None:
        """Remove every object under the prefix of parts, other runs' included."""
        keys = [entry.key for entry in self._store.list(self._place.bucket, self._place.parts)]
        if keys:
            self._store.delete(self._place.bucket, keys)

    def _write_results(self, content: Pieces, tally: Tally, *, look_first: bool) -> bool:
        place = self._place
        # A write of what is long would only be refused once all of it has been read and sent.
        if look_first and place.results in [entry.key for entry in self._store.list(place.bucket, place.results)]:
            return False
        counts = {ROWS: str(tally.rows), FAILED: str(tally.failed)}
        return self.write(place.results, content, LINES_TYPE, counts | ({REFUSED: "true"} if tally.refused else {}))

    def _stored_results(self) -> tuple[Tally, int]:
        facts = self._store.facts(ObjectRef(self._place.bucket, self._place.results))
        try:
            rows, failed = int(facts.metadata[ROWS]), int(facts.metadata[FAILED])
        except (KeyError, ValueError) as error:
            raise ObjectRefused(
                f"{self._place.uri(self._place.results)} is there already, and its metadata do not say that it holds "
                "results. Delete it, or let the outputs go elsewhere"
            ) from error
        return Tally(rows, failed, REFUSED in facts.metadata), facts.size

    def _write_summary(self, tally: Tally, ending: Ending) -> Done:
        summary = self._summary(tally, ending)
        text = json.dumps(summary, ensure_ascii=False, indent=2).encode() + b"\n"
        if not self.write(self._place.summary, [text], JSON_TYPE):
            return self._read_summary() or Done(summary, self._place.uri(self._place.summary))
        return Done(summary, self._place.uri(self._place.summary))

    def _read_summary(self) -> Done | None:
        uri = self._place.uri(self._place.summary)
        content = self._store.read_small(self._place.bucket, self._place.summary)
        if content is None:
            return None
        return Done(read_own(content, uri, {"rows": int, "failed": int, "results": str}), uri)

    def _summary(self, tally: Tally, ending: Ending) -> dict[str, Any]:
        finished = ending.clock()
        return {
            "schema": SCHEMA,
            **self._work.described(),
            "rows": tally.rows,
            "answered": tally.rows - tally.failed,
            "failed": tally.failed,
            **({"refused": True} if tally.refused else {}),
            "results": self._place.uri(self._place.results),
            "errors": self._place.uri(self._place.errors) if tally.failed else None,
            "started": _timestamp(ending.started),
            "finished": _timestamp(finished),
            "milliseconds": max(0, round((finished - ending.started) * 1000)),
            "invocations": ending.invocations,
        }


def read_own(content: bytes, uri: str, fields: Mapping[str, type]) -> dict[str, Any]:
    """A plan or a summary that this version has written, with these fields at least.

    Raises:
        ObjectRefused: It is something else.
    """
    try:
        value: Any = json.loads(content)
    except ValueError:
        value = None
    own: dict[str, Any] = value if isinstance(value, dict) else {}
    if own.get("schema") != SCHEMA or not all(isinstance(own.get(name), kind) for name, kind in fields.items()):
        raise ObjectRefused(
            f"{uri} is there already, and is nothing that this version has written. Delete it to begin anew"
        )
    return own


def _input_text(reference: ObjectRef) -> str:
    text = reference.uri
    if len(stored_metadata({INPUT: text})[INPUT]) <= _LONGEST_INPUT:
        return text
    return text.encode()[: _LONGEST_INPUT // 3 - 3].decode(errors="ignore") + "…"


def _timestamp(seconds: float) -> str:
    """UTC in ISO 8601, to the millisecond."""
    thousandths = round(seconds * 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(thousandths // 1000))}.{thousandths % 1000:03d}Z"
