"""Bring an S3 object into a file, or several: in parts, over several connections, all of them of one state of the object.

Every part is asked for with If-Match, so that parts of an object that is replaced meanwhile are never mixed.
"""

from __future__ import annotations

import os
import re
import threading
import zlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from gluon_lambda.archive_store.checksums import Piece, joined
from gluon_lambda.archive_store.digests import new_sha256
from gluon_lambda.archive_store.s3_errors import EMPTY, NOT_MODIFIED, answered_error, error_code, unanswered_error
from gluon_lambda.pending import Pending, begin

if TYPE_CHECKING:
    from botocore.exceptions import BotoCoreError

    from gluon_lambda.archive_store.location import Location
    from gluon_lambda.archive_store.s3 import S3Client

# Amazon S3 User Guide, "Performance guidelines": parts of 8 or 16 MB, one connection for each 85 to 90 MB/s. Smaller ones where a smaller
# object would leave connections idle.
CONNECTIONS = 8
PART_BYTES = 8 << 20
SMALLEST_PART_BYTES = 2 << 20
# Fits the processor's cache, so that copying on from it is nearly free.
BUFFER_BYTES = 1 << 20
# How often a part is asked for whose body breaks off.
ATTEMPTS = 3

CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


class Opening(NamedTuple):
    """An object's first part, on its way, and what S3 said with it.

    Attributes:
        request: What all its parts are asked for with; pins the state.
        etag: That state's name.
        size: Bytes of the whole object.
        answer: Of the first part, whose body has not been read.
    """

    request: Mapping[str, Any]
    etag: str
    size: int
    answer: Mapping[str, Any]


def open_object(location: Location, client: S3Client, **unless: str) -> Opening:
    """Ask for an object's first part, or for all of it where it is empty: S3 has no range of nothing.

    Args:
        location: The object.
        client: S3's.
        unless: GetObject's IfNoneMatch, where there is a state that need not be sent.

    Raises:
        ClientError: S3 answered with an error.
        BotoCoreError: It did not answer.
    """
    pinned = {"VersionId": location.version_id} if location.version_id else {}
    request = {"Bucket": location.bucket, "Key": location.path, **pinned}
    try:
        answer = client.get_object(**request, **unless, Range=f"bytes=0-{SMALLEST_PART_BYTES - 1}")
    except answered_error() as error:
        if error_code(error) not in EMPTY:
            raise
        answer = client.get_object(**request, **unless)
    tag = str(answer.get("ETag") or "")
    return Opening({**request, "IfMatch": tag} if tag else request, tag, size_of(answer), answer)


def open_changed(location: Location, client: S3Client, etag: str) -> Opening | None:
    """The same, unless the object still has the ``etag``: None then."""
    try:
        return open_object(location, client, IfNoneMatch=etag)
    except answered_error() as error:
        if error_code(error) not in NOT_MODIFIED:
            raise
        return None


def size_of(answer: Mapping[str, Any]) -> int:
    """Bytes of the whole object of which an answer brings a part or all."""
    match = CONTENT_RANGE.fullmatch(str(answer.get("ContentRange", "")))
    return int(match[3]) if match else int(answer["ContentLength"])


def spans(first: int, size: int) -> list[tuple[int, int]]:
    """Start and end of an object's parts after its first: few enough to be large, and enough for every connection."""
    share = -(-(size - first) // CONNECTIONS)
    length = min(max(share, SMALLEST_PART_BYTES), PART_BYTES)
    return [(start, min(size, start + length)) for start in range(first, size, length)]


class Place(NamedTuple):
    """Where a span of an object goes.

    Attributes:
        start: The span's first byte.
        end: The byte after its last.
        sink: The open file that takes it.
        origin: The byte of the object that is the file's first.
        is_checked: Whether its CRC-32 is taken on the way.
    """

    start: int
    end: int
    sink: int
    origin: int = 0
    is_checked: bool = False


class Part:
    """A part of an object, on its way.

    Attributes:
        start: Its first byte.
        position: Where the next byte goes.
        end: The byte after its last.
        answer: What brings it; None where it has to be asked for.
        is_settled: Set when all of it has been written, or the transfer is given up.
        pieces: Of each place that is checked, by its start, what has come with this part.
    """

    def __init__(self, start: int, end: int, answer: Mapping[str, Any] | None = None) -> None:
        self.start = self.position = start
        self.end = end
        self.answer = answer
        self.is_settled = threading.Event()
        self.pieces: dict[int, Piece] = {}

    def check(self, place: Place, content: memoryview) -> None:
        """Take what comes next into account."""
        crc, size = self.pieces.get(place.start, Piece(0, 0))
        self.pieces[place.start] = Piece(zlib.crc32(content, crc), size + len(content))


def parts_of(opening: Opening) -> list[Part]:
    """All of an object: its first part, which is on its way, and the others."""
    first = int(opening.answer["ContentLength"])
    return [Part(0, first, opening.answer), *(Part(*span) for span in spans(first, opening.size))]


class Transfer:
    """An object's way, or that of some parts of it, to where they go.

    As a context it asks for the first parts at once, while it may still have to be found out where they go.
    """

    def __init__(self, client: S3Client, opening: Opening, parts: list[Part]) -> None:
        """Ready to go.

        Args:
            client: S3's.
            opening: The object's first part.
            parts: What is wanted.
        """
        self._client = client
        self._opening = opening
        self._parts = parts
        self._taken = 0
        self._taking = threading.Lock()
        self._places: tuple[Place, ...] = ()
        self._has_places = threading.Event()
        self._is_given_up = False
        self._workers: list[Pending[None]] = []

    def __enter__(self) -> Self:
        """Begin to ask."""
        count = min(CONNECTIONS, len(self._parts))
        self._workers = [begin(f"fetch-{number}", self._receive_parts) for number in range(count)]
        return self

    def __exit__(self, *_: object) -> None:
        """Give up what has not come, and wait until nothing comes any more."""
        self._give_up()
        self._wait()

    def run(self, places: Iterable[Place], *, with_digest: bool) -> str:
        """Receive everything.

        Args:
            places: Where it goes: each byte to one place. When this ends, however it does, nothing is written there any more.
            with_digest: Whether the SHA-256 of the parts is wanted.

        Returns:
            It as hex digits, taken on the way; ``""`` where it is not asked for.

        Raises:
            ClientError: S3 answered with an error: ``PreconditionFailed`` where the object was replaced meanwhile.
            BotoCoreError: It did not answer, or did not send all of it.
        """
        self._places = tuple(places)
        self._has_places.set()
        try:
            digest = self._hash() if with_digest else ""
            self._wait()
        finally:
            self.__exit__()
        for worker in self._workers:
            worker.result()
        return digest

    def checksum(self, place: Place) -> int:
        """The CRC-32 of what has gone to a place that is checked."""
        return joined(part.pieces[place.start] for part in self._parts if place.start in part.pieces)

    def _wait(self) -> None:
        for worker in self._workers:
            worker.wait()

    def _receive_parts(self) -> None:
        """Receive one part after the other, as long as there are any."""
        buffer = bytearray(BUFFER_BYTES)
        is_done = False
        try:
            while (part := self._take()) is not None:
                self._receive(part, buffer)
                part.is_settled.set()
            is_done = True
        finally:
            if not is_done:
                self._give_up()

    def _take(self) -> Part | None:
        """The next part that nobody has begun."""
        with self._taking:
            self._taken += 1
            is_left = self._taken <= len(self._parts) and not self._is_given_up
            return self._parts[self._taken - 1] if is_left else None

    def _give_up(self) -> None:
        self._is_given_up = True
        self._has_places.set()
        for part in self._parts:
            part.is_settled.set()

    def _receive(self, part: Part, buffer: bytearray) -> None:
        """Receive one part; what breaks off is asked for again from where it broke off."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                self._copy(part, part.answer or self._ask(part), memoryview(buffer))
                return
            except unanswered_error():
                part.answer = None
                if attempt == ATTEMPTS:
                    raise

    def _ask(self, part: Part) -> Mapping[str, Any]:
        """Ask for what is missing of a part."""
        wanted = f"bytes {part.position}-{part.end - 1}/{self._opening.size}"
        answer = self._client.get_object(**self._opening.request, Range=f"bytes={part.position}-{part.end - 1}")
        sent = answer.get("ContentRange")
        if sent is None and part.start == 0 and int(answer["ContentLength"]) == part.end == self._opening.size:
            part.position = 0  # a server that knows no ranges sends everything again
        elif sent != wanted:
            raise broken_off(f"asked for {wanted}, got {sent}")
        return answer

    def _copy(self, part: Part, answer: Mapping[str, Any], buffer: memoryview) -> None:
        """Write an answer's body to its places, as soon as these are known."""
        self._has_places.wait()
        body = answer["Body"]
        while part.position < part.end and not self._is_given_up:
            count = body.readinto(buffer[: part.end - part.position])
            if not count:
                raise broken_off(f"{part.end - part.position} bytes are missing")
            self._write(part, buffer[:count])

    def _write(self, part: Part, content: memoryview) -> None:
        """Write what has come of a part."""
        while content:
            place = self._place_of(part.position)
            piece = content[: place.end - part.position]
            write(place.sink, piece, part.position - place.origin)
            if place.is_checked:
                part.check(place, piece)
            part.position, content = part.position + len(piece), content[len(piece) :]

    def _place_of(self, position: int) -> Place:
        return next(place for place in self._places if place.start <= position < place.end)

    def _hash(self) -> str:
        """The digest, taken part by part as they come."""
        digest, buffer = new_sha256(), bytearray(BUFFER_BYTES)
        for part in self._parts:
            part.is_settled.wait()
            position = part.start
            while position < part.end and not self._is_given_up:
                place = self._place_of(position)
                wanted = memoryview(buffer)[: min(part.end, place.end) - position]
                count = os.preadv(place.sink, [wanted], position - place.origin)
                digest.update(wanted[:count])
                position += count
        return digest.hexdigest()


def write(sink: int, content: memoryview, position: int) -> None:
    """Write all of ``content`` to its place in a file."""
    while content:
        written = os.pwrite(sink, content, position)
        position, content = position + written, content[written:]


def broken_off(reason: str) -> BotoCoreError:
    """What botocore raises where a body is not whole."""
    from botocore.exceptions import ResponseStreamingError  # lazy: seldom

    error: BotoCoreError = ResponseStreamingError(error=reason)
    return error
