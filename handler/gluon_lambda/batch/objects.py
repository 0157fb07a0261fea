"""Objects on S3 as batches see them: the interface, its records, and what the rest of this package needs of it.

``s3_objects.py`` is boto3's. Every error of it is one of ``errors.ObjectError``'s kinds; what may pass by itself has been tried again by then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol
from urllib.parse import quote

from gluon_lambda.batch_records import ObjectRef

# S3 keeps metadata names in lower case, and boto3 leaves out the x-amz-meta- before them.
PRODUCER = "gluon-lambda-producer"

# Objects up to this size are written in one request, longer ones in parts of it. S3 takes 10,000 parts: 84 GB.
PART_BYTES = 5 << 20
# How often a body that breaks off is asked for, and a write that collides with another one is tried.
ATTEMPTS = 4

# All that is printable in ASCII, save the sign that begins an escape.
_KEPT = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")


# What is written, in pieces of any size; each may be valid only until the next one is asked for.
Pieces = Iterable[bytes | memoryview]


class Facts(NamedTuple):
    """What S3 says of an object.

    Attributes:
        size: In bytes.
        etag: Without quotes.
        version: ``""`` where the bucket keeps no versions.
        content_type: As stored, lower case, without parameters; ``""`` where there is none.
        content_encoding: ``gzip``, … or ``""``.
        metadata: The user's own, names in lower case, values as they are stored.
    """

    size: int
    etag: str
    version: str = ""
    content_type: str = ""
    content_encoding: str = ""
    metadata: Mapping[str, str] = {}


class Opened(NamedTuple):
    """An object that has been begun to be read.

    Attributes:
        facts: What S3 says of it.
        head: Its first bytes.
    """

    facts: Facts
    head: bytes | memoryview


class Listed(NamedTuple):
    """An entry of a listing."""

    key: str
    size: int


class ObjectStore(Protocol):
    """What batches do with S3. Used by several threads at a time."""

    def facts(self, reference: ObjectRef) -> Facts:
        """What S3 says of the object: of the version or the eTag that the reference names, of the newest where it names none.

        Raises:
            ObjectMissing: It is not there (any more); BucketMissing where its bucket is not.
            ObjectReplaced: It has another eTag than the reference says.
            ObjectDenied: Access is denied.
            ObjectUnavailable: S3 fails.
        """
        ...

    def open(self, reference: ObjectRef, length: int) -> Opened:
        """The same, in one request with the object's first ``length`` bytes, or all of a shorter one; raises as ``facts`` does."""
        ...

    def read(self, reference: ObjectRef, start: int, length: int, into: memoryview | None = None) -> memoryview:
        """Exactly ``length`` bytes from ``start`` on, of the version or eTag in ``reference``; raises as ``facts`` does.

        Args:
            reference: The object.
            start: The first byte.
            length: How many.
            into: Where they go, at least so long; memory of their own where it is None. After an error it may go on being written to.
        """
        ...

    def read_small(self, bucket: str, key: str) -> bytes | None:
        """A whole object of our own; None where it is not there. Raises the others."""
        ...

    def write_new(
        self, bucket: str, key: str, content: Pieces, *, content_type: str, metadata: Mapping[str, str]
    ) -> bool:
        """Write an object that is not there yet: in one request, or in parts where ``content`` is long. It becomes visible whole or not at all.

        Args:
            bucket: Its bucket's name.
            key: Its key.
            content: In pieces of any size. Where S3 wants a long object sent anew (another write of it was under way), this is gone through
                again: what can be gone through only once, as a generator, makes that an ObjectUnavailable.
            content_type: As it is stored.
            metadata: Up to 2 KB; stored as ``stored_metadata`` says.

        Returns:
            False where somebody else has written it already; that one stays as it is.

        Raises:
            BucketMissing: The bucket is not there.
            ObjectDenied: Access is denied, or S3 takes no such object.
            ObjectUnavailable: S3 fails. Parts are given up.
        """
        ...

    def list(self, bucket: str, prefix: str) -> list[Listed]:
        """Every object whose key begins with ``prefix``, in the order of their keys."""
        ...

    def delete(self, bucket: str, keys: Sequence[str]) -> None:
        """Delete objects; one that is not there is no error."""
        ...


def stored_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """The form in which metadata are stored: names in lower case, values percent-encoded, save printable ASCII.

    HTTP's headers carry no more, and S3 answers other values in another form than they came in (Amazon S3 User Guide, "User-defined object
    metadata").
    """
    return {name.lower(): quote(value, safe=_KEPT) for name, value in metadata.items()}
