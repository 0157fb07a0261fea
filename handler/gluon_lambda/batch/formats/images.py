"""Image files: what they are told by, and the row that one is."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from gluon_lambda.batch.formats.rows import Limits, Reading, Source, made, read_fully
from gluon_lambda.batch_records import Row
from gluon_lambda.errors import PayloadTooLarge
from gluon_lambda.types import Part, Payload

# What a wrong type stands for: MMS 0.4's services take image/jpeg and no other.
_MEANT = {"image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg"}
_BY_SUFFIX = {
    **dict.fromkeys(("jpg", "jpeg", "jpe", "jfif"), "image/jpeg"),
    **dict.fromkeys(("bmp", "dib"), "image/bmp"),
    **dict.fromkeys(("tif", "tiff"), "image/tiff"),
    **dict.fromkeys(("ppm", "pgm", "pbm", "pnm", "pfm"), "image/x-portable-anymap"),
    **dict.fromkeys(("jp2", "j2k", "jpx"), "image/jp2"),
    **{suffix: f"image/{suffix}" for suffix in ("png", "gif", "webp", "avif", "icns", "sgi")},
    "ico": "image/x-icon",
    "tga": "image/x-tga",
    "pcx": "image/x-pcx",
    "psd": "image/vnd.adobe.photoshop",
}
# What files begin with, and where.
_BY_MAGIC = (
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (0, b"II*\0", "image/tiff"),
    (0, b"MM\0*", "image/tiff"),
    (8, b"WEBP", "image/webp"),
    (4, b"jP  \r\n\x87\n", "image/jp2"),
    (4, b"ftypavif", "image/avif"),
    (0, b"\0\0\1\0", "image/x-icon"),
    (0, b"icns", "image/icns"),
    (0, b"8BPS", "image/vnd.adobe.photoshop"),
    *(
        (0, f"P{kind}".encode() + blank, "image/x-portable-anymap")
        for kind in range(1, 8)
        for blank in (b"\n", b" ", b"\r")
    ),
)
# BM alone begins many a text; the four bytes that BMP keeps for later are zero.
_BMP = b"BM"


def type_of_name(name: str) -> str:
    """The content type that a file's suffix says, or ``""``."""
    return _BY_SUFFIX.get(name.rpartition(".")[2].lower(), "")


def type_of_content(head: bytes) -> str:
    """The content type of a file that begins with ``head`` (20 bytes or more), or ``""``."""
    if head.startswith(_BMP) and head[6:10] == bytes(4):
        return "image/bmp"
    return next((kind for at, magic, kind in _BY_MAGIC if head[at : at + len(magic)] == magic), "")


def rows(reading: Reading, content_type: str) -> Iterator[Row]:
    """The one row that an image is."""
    if reading.start.row == 0:
        reading.source.seek(0)
        yield made(0, partial(_payload, reading.source, content_type, reading.limits))


def _payload(source: Source, content_type: str, limits: Limits) -> Payload:
    content = read_fully(source, limits.file_bytes + 1)
    if len(content) > limits.file_bytes:
        raise PayloadTooLarge(f"The file is larger than the {limits.file_bytes:,} bytes that an image may have")
    return image_payload(content, content_type)


def image_payload(content: bytes, content_type: str) -> Payload:
    """What a model is asked with an image: the file, as the body of a request."""
    return Payload((Part("body", content, _MEANT.get(content_type, content_type)),))
