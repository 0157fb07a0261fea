"""An object as a seekable stream: what is fetched, when, and how much of it is held."""

from __future__ import annotations

import gzip
import io
import random
import threading
import zipfile
from collections.abc import Callable

import pytest

from gluon_lambda.batch.objects import Facts
from gluon_lambda.batch.reader import BLOCK_BYTES, ObjectReader, open_object
from gluon_lambda.batch_records import ObjectRef
from gluon_lambda.errors import ObjectReplaced, ObjectUnavailable
from tests.memory_objects import Call, MemoryObjects, at_call

CONTENT = random.Random(1).randbytes(100_003)
BLOCK = 1000


@pytest.fixture
def store() -> MemoryObjects:
    store = MemoryObjects("in")
    store.put("in", "a", CONTENT)
    return store


def reader(store: MemoryObjects, content: bytes = CONTENT, block_bytes: int = BLOCK) -> ObjectReader:
    return ObjectReader(store, ObjectRef("in", "a"), len(content), block_bytes=block_bytes)


def test_reads_and_seeks_do_as_on_a_file(store: MemoryObjects) -> None:
    chance, oracle = random.Random(2), io.BytesIO(CONTENT)
    with io.BufferedReader(reader(store), 300) as stream:
        for _ in range(2000):
            offset, size = chance.randrange(len(CONTENT) + 500), chance.choice((0, 1, 200, 999, 1000, 5000))
            if chance.random() < 0.3:
                assert stream.seek(offset) == oracle.seek(offset)
            elif chance.random() < 0.2:
                assert stream.seek(-offset % len(CONTENT) - len(CONTENT), 2) == oracle.seek(
                    -offset % len(CONTENT) - len(CONTENT), 2
                )
            assert stream.read(size) == oracle.read(size)
            assert stream.tell() == oracle.tell()


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 10 * BLOCK])
def test_a_stream_ends_where_the_object_does(size: int) -> None:
    store = MemoryObjects("in")
    store.put("in", "a", CONTENT[:size])
    assert reader(store, CONTENT[:size]).read() == CONTENT[:size]
    assert io.BufferedReader(reader(store, CONTENT[:size]), 64).read() == CONTENT[:size]


def test_gzip_and_zip_are_read_through_it(store: MemoryObjects) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("one", CONTENT)
        archive.writestr("two", b"second")
    for content in (gzip.compress(CONTENT), packed.getvalue()):
        store.put("in", "a", content)
        stream = io.BufferedReader(reader(store, content), 300)
        if content[:2] == b"PK":
            with zipfile.ZipFile(stream) as archive:
                assert (archive.read("two"), archive.read("one")) == (b"second", CONTENT)
        else:
            assert gzip.GzipFile(fileobj=stream).read() == CONTENT


def test_a_look_at_the_beginning_or_the_end_fetches_one_block(store: MemoryObjects) -> None:
    for offset in (0, len(CONTENT) - 3):
        store.calls.clear()
        stream = reader(store)
        stream.seek(offset)
        assert stream.read(3) == CONTENT[offset : offset + 3]
        stream.close()
        assert len(store.calls) == 1


def test_who_reads_on_has_the_next_block_fetched_meanwhile(store: MemoryObjects) -> None:
    begun = threading.Event()
    store.before.append(lambda _: begun.set() if len(store.calls) == 2 else None)
    with reader(store) as stream:
        assert stream.read(10) + stream.read(10) == CONTENT[:20]
        assert begun.wait(60)
        assert stream.read(980) + stream.read(10) == CONTENT[20:1010]
        assert len(store.calls) <= 3  # the first two, and the third that has been begun by now


def test_nothing_is_fetched_twice_by_who_reads_from_start_to_end(store: MemoryObjects) -> None:
    with io.BufferedReader(reader(store), 64) as stream:
        for number in range(0, len(CONTENT), 50):
            assert stream.read(50) == CONTENT[number : number + 50]
    assert len(store.calls) == 101


def test_what_is_near_is_not_fetched_again(store: MemoryObjects) -> None:
    with reader(store) as stream:
        for offset in (2500, 3500, 2900, 3000, 2000):
            stream.seek(offset)
            assert stream.read(10) == CONTENT[offset : offset + 10]
    assert len(store.calls) == 2


class Lent(MemoryObjects):
    """Remembers, and so keeps alive, what it was given to read into."""

    def __init__(self, *buckets: str) -> None:
        super().__init__(*buckets)
        self.lent: list[memoryview | None] = []

    def read(self, reference: ObjectRef, start: int, length: int, into: memoryview | None = None) -> memoryview:
        self.lent.append(into)
        return super().read(reference, start, length, into)


def test_three_blocks_are_read_into_whatever_is_read() -> None:
    store = Lent("in")
    store.put("in", "a", CONTENT)
    chance = random.Random(3)
    with reader(store) as stream:
        for number in range(3000):
            if number % 7 == 0:
                stream.seek(chance.randrange(len(CONTENT)))
            start = stream.tell()
            content = stream.read(chance.randrange(1, 600))
            assert content == CONTENT[start : start + len(content)]
    assert 2 <= len({id(buffer) for buffer in store.lent}) <= 3
    assert len(store.lent) > 100


def test_a_block_that_failed_is_not_read_into_again() -> None:
    store = Lent("in")
    store.put("in", "a", CONTENT)
    store.before.append(at_call(2, ObjectUnavailable("its time was up")))
    with reader(store) as stream:
        assert [len(stream.read(600)), len(stream.read(600))] == [600, 400]
        with pytest.raises(ObjectUnavailable):
            stream.read(100)
        assert stream.read(100) == CONTENT[1000:1100]
    assert len({id(buffer) for buffer in store.lent[:3]}) == 3


@pytest.mark.parametrize("head", [0, 1, 700, 1000, 1500, len(CONTENT)])
def test_what_is_there_already_is_not_fetched(store: MemoryObjects, head: int) -> None:
    facts = store.facts(ObjectRef("in", "a"))
    with ObjectReader(store, ObjectRef("in", "a"), facts.size, CONTENT[:head], block_bytes=BLOCK) as stream:
        assert b"".join(iter(lambda: stream.read(333) or b"", b"")) == CONTENT
        for offset in (len(CONTENT) - 1, head, max(0, head - 1), 0):
            stream.seek(offset)
            assert stream.read(1) == CONTENT[offset : offset + 1]
    reads = [call for call in store.calls if call.method == "read"]
    assert len(reads) >= -(-(len(CONTENT) - head) // BLOCK)
    assert bool(reads) == (head < len(CONTENT))


def test_the_error_of_a_block_that_is_fetched_ahead_is_raised_where_it_is_read(store: MemoryObjects) -> None:
    store.before.append(at_call(2, ObjectUnavailable("s3://in/a: throttled")))
    with reader(store) as stream:
        assert [stream.read(500), stream.read(499)] == [CONTENT[:500], CONTENT[500:999]]
        assert stream.read(100) == CONTENT[999:1000]
        with pytest.raises(ObjectUnavailable, match="throttled"):
            stream.read(100)
        assert stream.read(100) == CONTENT[1000:1100]


def test_an_object_that_changes_while_it_is_read_is_never_mixed(store: MemoryObjects) -> None:
    reference = ObjectRef("in", "a")
    facts = store.facts(reference)
    state = reference._replace(etag=facts.etag)
    with ObjectReader(store, state, facts.size, block_bytes=BLOCK) as stream:
        assert stream.read(10) == CONTENT[:10]
        store.put("in", "a", CONTENT[::-1])
        stream.seek(5000)
        with pytest.raises(ObjectReplaced):
            stream.read(10)


class Asking(MemoryObjects):
    """Remembers who was asked for."""

    def read(self, reference: ObjectRef, start: int, length: int, into: memoryview | None = None) -> memoryview:
        self.asked = (reference.version, reference.etag, start, length)
        return memoryview(b"x" * length)


@pytest.mark.parametrize(("size", "first"), [(5, 5), (20 << 20, BLOCK_BYTES)])
def test_an_object_is_read_in_the_state_of_its_facts_and_in_blocks(size: int, first: int) -> None:
    store = Asking()
    with open_object(store, ObjectRef("in", "a"), Facts(size, "tag", "v1")) as stream:
        assert stream.read(1) == b"x"
    assert store.asked == ("v1", "tag", 0, first)


CLOSED: list[Callable[[io.RawIOBase], object]] = [
    lambda stream: stream.read(1),
    lambda stream: stream.seek(0),
    lambda stream: stream.tell(),
]


@pytest.mark.parametrize("use", CLOSED)
def test_a_closed_stream_is_no_longer_used(store: MemoryObjects, use: Callable[[io.RawIOBase], object]) -> None:
    stream = reader(store)
    stream.close()
    with pytest.raises(ValueError, match="closed"):
        use(stream)


def test_nothing_lies_before_the_beginning(store: MemoryObjects) -> None:
    with pytest.raises(ValueError, match="before its beginning"):
        reader(store).seek(-1)


def test_a_stream_that_is_closed_while_a_block_is_on_its_way_leaves_no_error(store: MemoryObjects) -> None:
    go_on, ended = threading.Event(), threading.Event()

    def waiting(call: Call) -> None:
        if len(store.calls) == 2:
            go_on.wait(60)
            ended.set()
            raise ObjectUnavailable("too late")

    store.before.append(waiting)
    stream = reader(store)
    assert stream.read(10) + stream.read(10) == CONTENT[:20]
    stream.close()
    go_on.set()
    assert ended.wait(60)
