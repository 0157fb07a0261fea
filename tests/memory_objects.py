"""An S3 in memory: an ``ObjectStore`` that keeps S3's rules, and fails where a test wants it to."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple, TypeVar

from gluon_lambda.batch.objects import ATTEMPTS, Facts, Listed, Opened, Pieces, stored_metadata
from gluon_lambda.batch_records import ObjectRef
from gluon_lambda.errors import BucketMissing, ObjectDenied, ObjectMissing, ObjectReplaced, ObjectUnavailable

T = TypeVar("T")

# What S3 takes of metadata, names and values together, and of a key in UTF-8.
_MOST_METADATA = 2048
_LONGEST_KEY = 1024


class Call(NamedTuple):
    """A call of a store's.

    Attributes:
        method: Its name: ``facts``, ``open``, ``read``, ``read_small``, ``write_new``, ``list`` or ``delete``.
        bucket: The bucket.
        key: The key; the prefix of a listing, the first of the keys that are deleted.
    """

    method: str
    bucket: str
    key: str


class Killed(BaseException):
    """Stands for the sandbox's end: nothing may catch it."""


class Stored(NamedTuple):
    """A state of an object."""

    content: bytes
    facts: Facts


States = list[Stored]
Listing = list[Listed]

# What a hook does is up to it: raise, sleep, count, change the store.
Hook = Callable[[Call], None]


class MemoryObjects:
    """Buckets in memory, and those of them in ``versioned`` keep versions.

    Attributes:
        calls: Every call so far.
        before: Called ahead of every call; what they raise is raised, and nothing has been done.
        during: Called within ``write_new`` when the content has been gone through, and nothing is visible yet, and within ``delete`` after
            each key.
        after: Called when a call has been done, and not answered yet.
        wire: What a body goes through on its way from S3: may shorten or lengthen it.
    """

    def __init__(self, *buckets: str, versioned: Collection[str] = ()) -> None:
        self.calls: list[Call] = []
        self.before: list[Hook] = []
        self.during: list[Hook] = []
        self.after: list[Hook] = []
        self.wire: Callable[[Call, bytes], bytes] = lambda _, body: body
        self._buckets: dict[str, dict[str, list[Stored]]] = {name: {} for name in (*buckets, *versioned)}
        self._versioned = frozenset(versioned)
        self._count = 0
        self._lock = threading.RLock()

    # For tests: what others do with the store.

    def put(
        self,
        bucket: str,
        key: str,
        content: bytes,
        *,
        content_type: str = "binary/octet-stream",
        content_encoding: str = "",
        metadata: Mapping[str, str] | None = None,
    ) -> ObjectRef:
        """Write or replace an object; returns how an event names it."""
        with self._lock:
            self._count += 1
            is_versioned = bucket in self._versioned
            version = f"v{self._count}" if is_versioned else ""
            etag = hashlib.md5(content, usedforsecurity=False).hexdigest()
            kind = content_type.partition(";")[0].lower()
            facts = Facts(len(content), etag, version, kind, content_encoding, stored_metadata(metadata or {}))
            states = self._bucket(bucket).setdefault(key, [])
            self._bucket(bucket)[key] = [*(states if is_versioned else ()), Stored(content, facts)]
        return ObjectRef(bucket, key, version, etag, len(content), f"{self._count:016X}")

    def remove(self, bucket: str, key: str) -> None:
        """Delete an object with all its versions."""
        with self._lock:
            self._bucket(bucket).pop(key, None)

    def content(self, bucket: str, key: str) -> bytes:
        """An object's newest content."""
        return self._bucket(bucket)[key][-1].content

    def keys(self, bucket: str) -> list[str]:
        """All of them, sorted."""
        return sorted(self._bucket(bucket))

    # The interface.

    def facts(self, reference: ObjectRef) -> Facts:
        """See ``ObjectStore.facts``."""
        return self._called(Call("facts", reference.bucket, reference.key), lambda: self._find(reference).facts)

    def open(self, reference: ObjectRef, length: int) -> Opened:
        """See ``ObjectStore.open``."""
        call = Call("open", reference.bucket, reference.key)

        def opened() -> Opened:
            stored = self._find(reference)
            return Opened(stored.facts, self._sent(call, stored.content, 0, min(length, stored.facts.size)))

        return self._called(call, opened)

    def read(self, reference: ObjectRef, start: int, length: int, into: memoryview | None = None) -> memoryview:
        """See ``ObjectStore.read``."""
        call = Call("read", reference.bucket, reference.key)
        content = self._called(call, lambda: self._sent(call, self._find(reference).content, start, length))
        if into is None:
            return memoryview(content)
        into[:length] = content
        return memoryview(into)[:length]

    def read_small(self, bucket: str, key: str) -> bytes | None:
        """See ``ObjectStore.read_small``."""
        call = Call("read_small", bucket, key)

        def read() -> bytes | None:
            states = self._bucket(bucket, key).get(key)
            return self._sent(call, states[-1].content, 0, len(states[-1].content)) if states else None

        return self._called(call, read)

    def write_new(
        self, bucket: str, key: str, content: Pieces, *, content_type: str, metadata: Mapping[str, str]
    ) -> bool:
        """See ``ObjectStore.write_new``."""
        call = Call("write_new", bucket, key)

        def write() -> bool:
            whole = b"".join(content)
            for hook in self.during:
                hook(call)
            check_new(bucket, key, stored_metadata(metadata))
            with self._lock:
                if key in self._bucket(bucket, key):
                    return False
                self.put(bucket, key, whole, content_type=content_type, metadata=metadata)
                return True

        return self._called(call, write)

    def list(self, bucket: str, prefix: str) -> Listing:
        """See ``ObjectStore.list``."""

        def found() -> Listing:
            with self._lock:
                entries = self._bucket(bucket).items()
                listed = [Listed(key, states[-1].facts.size) for key, states in entries if key.startswith(prefix)]
            return sorted(listed, key=lambda entry: entry.key.encode())

        return self._called(Call("list", bucket, prefix), found)

    def delete(self, bucket: str, keys: Sequence[str]) -> None:
        """See ``ObjectStore.delete``."""

        def delete() -> int:
            for key in keys:
                self._bucket(bucket, key).pop(key, None)
                for hook in self.during:
                    hook(Call("delete", bucket, key))
            return len(keys)

        if keys:
            self._called(Call("delete", bucket, keys[0]), delete)

    def _called(self, call: Call, do: Callable[[], T]) -> T:
        self.calls.append(call)
        for hook in self.before:
            hook(call)
        done = do()
        for hook in self.after:
            hook(call)
        return done

    def _bucket(self, name: str, key: str = "") -> dict[str, States]:
        if name not in self._buckets:
            raise BucketMissing(f"s3://{name}/{key}: there is no bucket {name} (NoSuchBucket).")
        return self._buckets[name]

    def _find(self, reference: ObjectRef) -> Stored:
        """The state that a reference names."""
        states = self._bucket(reference.bucket, reference.key).get(reference.key, [])
        if reference.version:
            states = [state for state in states if state.facts.version == reference.version]
        if not states:
            raise ObjectMissing(f"{reference.uri}: S3 has no such object (NoSuchKey).")
        if not reference.version and reference.etag.strip('"') not in ("", states[-1].facts.etag):
            raise ObjectReplaced(f"{reference.uri}: the object is no longer the one that was asked for.")
        return states[-1]

    def _sent(self, call: Call, content: bytes, start: int, length: int) -> bytes:
        """A body as it comes; one of the wrong length is asked for again."""
        if length and start >= len(content):
            raise ObjectReplaced(f"s3://{call.bucket}/{call.key}: it ends before byte {start} (InvalidRange).")
        for _ in range(ATTEMPTS):
            body = self.wire(call, content[start : start + length])
            if len(body) == length:
                return body
        raise ObjectUnavailable(f"s3://{call.bucket}/{call.key}: {len(body)} bytes came instead of {length}.")


def check_new(bucket: str, key: str, metadata: Mapping[str, str]) -> None:
    """Refuse what S3 refuses."""
    if sum(len(name) + len(value) for name, value in metadata.items()) > _MOST_METADATA:
        raise ObjectDenied(f"s3://{bucket}/{key}: its metadata are over {_MOST_METADATA} bytes (MetadataTooLarge).")
    if not 0 < len(key.encode()) <= _LONGEST_KEY:
        raise ObjectDenied(f"s3://{bucket}/{key}: the key is empty or over {_LONGEST_KEY} bytes (KeyTooLongError).")


def at_call(number: int, error: BaseException, *, method: str = "", key: str = "") -> Hook:
    """A hook that raises at one call, the first being 1, of those with this method, whose key has ``key`` in it."""
    counting = threading.Lock()
    count = 0

    def hook(call: Call) -> None:
        nonlocal count
        if method in ("", call.method) and key in call.key:
            with counting:
                count += 1
                is_due = count == number
            if is_due:
                raise error

    return hook


def always(error: Exception, *, method: str = "", key: str = "") -> Hook:
    """A hook that raises at every call of this method, whose key has ``key`` in it."""

    def hook(call: Call) -> None:
        if method in ("", call.method) and key in call.key:
            raise error

    return hook


def slow(seconds: float, *, method: str = "") -> Hook:
    """A hook that takes its time."""

    def hook(call: Call) -> None:
        if method in ("", call.method):
            time.sleep(seconds)

    return hook


def truncating(kept: int, times: int) -> Callable[[Call, bytes], bytes]:
    """A wire that cuts bodies after ``kept`` bytes, so many times."""
    left = [True] * times
    return lambda _, body: body[:kept] if left and left.pop() else body
