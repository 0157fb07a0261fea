"""An object as a seekable stream, over ranged reads of one state of it.

Blocks are large, since a request takes some 20 ms before its first byte (Amazon S3 User Guide, "Performance guidelines": ranges of 8 or 16 MB),
and the next one is fetched while this one is read, so that S3 and processor work at the same time. They lie in the same few buffers again and
again: memory that came and went in the threads that fetch would stay with each of them.
"""

from __future__ import annotations

import io
import os
from typing import NamedTuple

from gluon_lambda.batch.buffers import buffer_of
from gluon_lambda.batch.objects import Facts, ObjectStore
from gluon_lambda.batch_records import ObjectRef
from gluon_lambda.pending import Pending, begin

BLOCK_BYTES = 1 << 20
# What small reads and lines are cut from.
BUFFER_BYTES = 256 << 10


def open_object(
    store: ObjectStore, reference: ObjectRef, facts: Facts, head: bytes | memoryview = b""
) -> io.BufferedReader:
    """An object's bytes, in the state that ``facts`` tells of; whoever changes the object meanwhile makes reading fail, not mix.

    Reading raises what ``ObjectStore.read`` raises. For one thread at a time.

    Args:
        store: Where the object lies.
        reference: The object.
        facts: What S3 says of it.
        head: Its first bytes, as far as they are here already.
    """
    state = reference._replace(version=facts.version, etag=facts.etag)
    return io.BufferedReader(ObjectReader(store, state, facts.size, head), BUFFER_BYTES)


class _Block(NamedTuple):
    """A block that has come; ``content`` is as much of ``buffer`` as it fills."""

    content: memoryview
    buffer: memoryview


class ObjectReader(io.RawIOBase):
    """A seekable stream that holds three blocks at most: the one that is read, the one before it, and the next, on its way."""

    def __init__(
        self,
        store: ObjectStore,
        reference: ObjectRef,
        size: int,
        head: bytes | memoryview = b"",
        *,
        block_bytes: int = BLOCK_BYTES,
    ) -> None:
        """Nothing is fetched yet.

        Args:
            store: Where the object lies.
            reference: The object, with version or eTag.
            size: In bytes.
            head: Its first bytes, as far as they are here already; blocks begin behind them.
            block_bytes: How much is fetched at a time.
        """
        self._store = store
        self._reference = reference
        self._size = size
        self._head = memoryview(head)
        self._block_bytes = block_bytes
        self._position = 0
        self._last_end = -1
        self._blocks: dict[int, _Block] = {}
        self._ahead: tuple[int, Pending[_Block]] | None = None
        self._unused: list[memoryview] = []

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is: zip and npy files are read from more than one place."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        self._check_open()
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Go on elsewhere; fetches nothing."""
        self._check_open()
        position = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence] + offset
        if position < 0:
            raise ValueError(f"{self._reference.uri}: nothing lies before its beginning ({position}).")
        self._position = position
        return position

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]  # typeshed's Buffer is of Python 3.12
        """Fill ``buffer`` as far as the block reaches; 0 at the end.

        Raises:
            ObjectError: As ``ObjectStore.read``.
        """
        self._check_open()
        if self._position >= self._size or not len(buffer):
            return 0
        number, start = divmod(self._position - len(self._head), self._block_bytes)
        is_in_head = number < 0
        whole, start = (self._head, self._position) if is_in_head else (self._block(number).content, start)
        piece = whole[start : start + len(buffer)]
        buffer[: len(piece)] = piece
        if self._position == self._last_end:  # not for who only looks at the beginning, or jumps about
            self._fetch_ahead(0 if is_in_head else number + 1)
        self._position += len(piece)
        self._last_end = self._position
        return len(piece)

    def readall(self) -> bytes:
        """Everything from here on."""
        return b"".join(iter(lambda: self.read(self._block_bytes) or b"", b""))

    def close(self) -> None:
        """Let go of the blocks. What is on its way comes to its end alone."""
        self._head, self._blocks, self._ahead, self._unused = memoryview(b""), {}, None, []
        super().close()

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError(f"{self._reference.uri} is read after it has been closed.")

    def _block(self, number: int) -> _Block:
        """A block; the one before it is kept too, since archives' readers go back a little."""
        if number not in self._blocks:
            for old in list(self._blocks)[:-1]:
                self._unused.append(self._blocks.pop(old).buffer)
            self._blocks[number] = self._take_ahead(number)
        return self._blocks[number]

    def _take_ahead(self, number: int) -> _Block:
        """The block that is on its way, or else one that is fetched now."""
        if self._ahead is None or self._ahead[0] != number:
            return self._fetch(number, self._buffer())
        pending, self._ahead = self._ahead[1], None  # before it may raise: who reads again asks S3 again
        return pending.result()

    def _fetch_ahead(self, number: int) -> None:
        """Begin to fetch a block, unless it is there, or another one is still on its way: never a fourth one."""
        is_busy = self._ahead is not None and (self._ahead[0] == number or not self._ahead[1].wait(0))
        if not is_busy and number not in self._blocks and self._start(number) < self._size:
            self._forget_ahead()
            self._ahead = number, begin("next block", self._fetch, number, self._buffer())

    def _forget_ahead(self) -> None:
        """Take back the memory of a block that has come and that nobody came for."""
        if self._ahead is not None and self._ahead[1].error is None:
            self._unused.append(self._ahead[1].result().buffer)
        self._ahead = None

    def _buffer(self) -> memoryview:
        """Memory for a block. One that a fetch has failed with does not come back: it may still be written to."""
        return self._unused.pop() if self._unused else buffer_of(min(self._block_bytes, self._size))

    def _start(self, number: int) -> int:
        return len(self._head) + number * self._block_bytes

    def _fetch(self, number: int, buffer: memoryview) -> _Block:
        start = self._start(number)
        return _Block(
            self._store.read(self._reference, start, min(self._block_bytes, self._size - start), buffer), buffer
        )
