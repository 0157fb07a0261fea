"""Which format an object has: by its content type, then by its key's suffix, then by what it begins with."""

from __future__ import annotations

import json
from typing import NamedTuple

from gluon_lambda.batch.formats import images, tar_members
from gluon_lambda.batch.formats.lines import BLANKS, BYTE_ORDER_MARK, WIDE_MARKS
from gluon_lambda.errors import ObjectRefused
from gluon_lambda.services.tensors import NPY_MAGIC, NPY_TYPE

IMAGE, JSON, LINES, CSV, TSV = "image", "json", "lines", "csv", "tsv"
NPY, NPZ, ZIP, TAR = "npy", "npz", "zip", "tar"

# How much of an object is looked at.
HEAD_BYTES = 4096
ACCEPTED = "an image, JSON, JSON Lines, CSV, .npy or .npz, any of these in gzip, or a .zip or .tar of images"

_BY_TYPE = {
    "application/json": JSON,
    **dict.fromkeys(("application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonl"), LINES),
    **dict.fromkeys(("application/jsonlines", "application/x-jsonlines", "application/json-lines"), LINES),
    **dict.fromkeys(("text/csv", "application/csv"), CSV),
    "text/tab-separated-values": TSV,
    NPY_TYPE: NPY,
    "application/x-npz": NPZ,
    **dict.fromkeys(("application/zip", "application/x-zip-compressed"), ZIP),
    **dict.fromkeys(("application/x-tar", "application/x-gtar", "application/x-tgz"), TAR),
}
_BY_SUFFIX = {
    "json": JSON,
    **dict.fromkeys(("jsonl", "ndjson", "jsonlines"), LINES),
    "csv": CSV,
    **dict.fromkeys(("tsv", "tab"), TSV),
    "npy": NPY,
    "npz": NPZ,
    "zip": ZIP,
    **dict.fromkeys(("tar", "tgz"), TAR),
}
_ZIP_MAGICS = (b"PK\x03\x04", b"PK\x05\x06")
_TEXT_FORMATS = (JSON, LINES, CSV, TSV)


class Kind(NamedTuple):
    """What an object is.

    Attributes:
        format: One of this module's names.
        content_type: An image's; ``""`` for the others.
    """

    format: str
    content_type: str = ""


def find_kind(content_type: str, key: str, head: bytes, *, where: str) -> Kind:
    """The object's format.

    Args:
        content_type: As S3 has it, lower case, without parameters; one that says nothing of use counts as none.
        key: The object's key.
        head: What it begins with, inflated: ``HEAD_BYTES``, or all of it.
        where: The object, for errors.

    Raises:
        ObjectRefused: It is none of those that are read; or text, but not in UTF-8.
    """
    kind = _by_type(content_type, key) or _by_suffix(key) or _by_look(head)
    if kind is None:
        raise ObjectRefused(
            f"{where} is nothing that is read: content type {content_type or 'none'}, begins with {head[:16]!r}. Accepted: {ACCEPTED}."
        )
    if kind.format in _TEXT_FORMATS and head.startswith(WIDE_MARKS):
        raise ObjectRefused(f"{where} is UTF-16, which Windows calls Unicode. Save it as UTF-8.")
    return kind


def is_image(content_type: str, key: str) -> bool:
    """Whether an object is an image by its content type, or by its key's suffix where that says nothing."""
    kind = _by_type(content_type, key) or _by_suffix(key)
    return kind is not None and kind.format == IMAGE


def says_gzip(key: str, content_type: str, content_encoding: str) -> bool:
    """Whether the object's facts say that it is a gzip."""
    encodings = [each.strip() for each in content_encoding.lower().split(",")]
    return (
        key.lower().endswith((".gz", ".tgz"))
        or content_type in ("application/gzip", "application/x-gzip", "application/x-tgz")
        or not {"gzip", "x-gzip"}.isdisjoint(encodings)
    )


def other_encodings(content_encoding: str) -> list[str]:
    """Those of the object's content encodings that are not read; aws-chunked is S3's own, left over from the upload."""
    known = ("", "identity", "gzip", "x-gzip", "aws-chunked")
    return [each for each in map(str.strip, content_encoding.lower().split(",")) if each not in known]


def _by_type(content_type: str, key: str) -> Kind | None:
    if content_type.startswith("image/"):
        return Kind(IMAGE, content_type)
    found = _BY_TYPE.get(content_type) or (JSON if content_type.endswith("+json") else None)
    # A .npz is a zip, and a program that looks at files calls it one.
    return Kind(NPZ if found == ZIP and _suffix(key) == "npz" else found) if found else None


def _by_suffix(key: str) -> Kind | None:
    image = images.type_of_name(f".{_suffix(key)}")
    if image:
        return Kind(IMAGE, image)
    found = _BY_SUFFIX.get(_suffix(key))
    return Kind(found) if found else None


def _suffix(key: str) -> str:
    base = key.rpartition("/")[2].lower().removesuffix(".gz")
    return base.rpartition(".")[2] if "." in base else ""


def _by_look(head: bytes) -> Kind | None:
    image = images.type_of_content(head)
    if image:
        return Kind(IMAGE, image)
    if head.startswith(NPY_MAGIC):
        return Kind(NPY)
    if head.startswith(_ZIP_MAGICS):
        name = head[30 : 30 + int.from_bytes(head[26:28], "little")]
        return Kind(NPZ if name.endswith(b".npy") else ZIP)
    if head[tar_members.MAGIC_AT :].startswith(tar_members.MAGIC):
        return Kind(TAR)
    return _by_text(head.removeprefix(BYTE_ORDER_MARK).lstrip(BLANKS))


def _by_text(text: bytes) -> Kind | None:
    first, feed, rest = text.partition(b"\n")
    if text.startswith((b"{", b"[")) or (feed and _is_json(first)):
        return Kind(JSON)
    if not _is_text(text):
        return None
    for delimiter, found in ((b",", CSV), (b"\t", TSV)):
        # Prose has commas too, but seldom as many in one line as in the next.
        second = rest.partition(b"\n")[0] if b"\n" in rest or len(text) < HEAD_BYTES // 2 else first
        if delimiter in first and second.count(delimiter) == first.count(delimiter):
            return Kind(found)
    return Kind(JSON) if _is_json(text) else None


def _is_text(head: bytes) -> bool:
    """Whether there is neither a control character nor what is not UTF-8 (a character that the head's end cuts apart aside)."""
    try:
        head[: len(head) - 3].decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 6:
            return False
    return not any(byte < 32 and byte not in b"\t\r\n" for byte in head)


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
