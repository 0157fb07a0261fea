"""Reads ``multipart/form-data`` bodies (RFC 7578, RFC 2046 section 5.1).

Our own, since the parser must not cost the cold path the ``email`` package or an async library, and has the whole body in memory anyway.
"""

from __future__ import annotations

import re
from base64 import b64decode

from gluon_lambda.errors import MalformedBody, PayloadTooLarge
from gluon_lambda.types import Part

_MOST_PARTS = 1000
_LONGEST_HEAD = 16_384
# A parameter of a header: name=token or name="quoted", where a backslash escapes a quote or a backslash only; browsers and curl write
# a file name's other backslashes (C:\pictures) as they are.
_PARAMETER = re.compile(r';\s*([\w!#$%&\'*+.^`|~-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s]*))', re.ASCII)


def header_parameters(value: str) -> dict[str, str]:
    """The parameters of a header like ``form-data; name="data"; filename="a.jpg"``, names in lower case."""
    found = _PARAMETER.findall(value.partition(";")[1] + value.partition(";")[2])
    return {name.lower(): re.sub(r'\\(["\\])', r"\1", quoted) or token for name, quoted, token in found}


def parse_multipart(body: bytes, content_type: str) -> tuple[Part, ...]:
    """The parts of ``body``, in order.

    Args:
        body: The whole body.
        content_type: The request's Content-Type, with its boundary.

    Raises:
        MalformedBody: No boundary, a part without a name or without an end, headers that do not parse.
        PayloadTooLarge: More than a thousand parts, or a part with headers over 16 KB.
    """
    boundary = header_parameters(content_type).get("boundary", "")
    if not boundary:
        raise MalformedBody(
            "multipart/form-data without a boundary in Content-Type: let the client set that header itself (curl -F does)"
        )
    sections = _sections(body, boundary.encode("latin-1", "replace"))
    if len(sections) > _MOST_PARTS:
        raise PayloadTooLarge(f"multipart/form-data with {len(sections)} parts; at most {_MOST_PARTS} are read")
    return tuple(_part(section) for section in sections)


def _sections(body: bytes, boundary: bytes) -> list[bytes]:
    """What stands between the delimiters, each section with the line break that ends its delimiter's line."""
    # A line break belongs to the delimiter that follows it; the first delimiter may stand at the very start.
    delimiter = re.compile(rb"\r\n--" + re.escape(boundary) + rb"(--|[ \t]*(?=\r\n))")
    _preamble, *pieces = delimiter.split(b"\r\n" + body)
    marks, sections = pieces[0::2], pieces[1::2]
    if b"--" not in marks:
        raise MalformedBody(
            f"multipart/form-data: the closing boundary --{boundary.decode('latin-1')}-- is missing; the body was cut off or garbled"
        )
    return sections[: marks.index(b"--")]


def _part(section: bytes) -> Part:
    head, blank_line, content = section.partition(b"\r\n\r\n")
    if not blank_line:
        raise MalformedBody("multipart/form-data: a part has no blank line between its headers and its content")
    if len(head) > _LONGEST_HEAD:
        raise PayloadTooLarge(
            f"multipart/form-data: a part's headers are {len(head):,} bytes long; at most {_LONGEST_HEAD:,} are read"
        )
    headers = _headers(head)
    parameters = header_parameters(headers.get("content-disposition", ""))
    if not parameters.get("name"):
        raise MalformedBody('multipart/form-data: a part has no Content-Disposition: form-data; name="…"')
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    return Part(parameters["name"], _decoded(content, headers), media_type, parameters.get("filename"))


def _headers(head: bytes) -> dict[str, str]:
    # RFC 7578, 5.1: names beyond ASCII are UTF-8 in practice.
    lines = head.decode("utf-8", "replace").split("\r\n")[1:]
    pairs = (line.partition(":") for line in lines)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _decoded(content: bytes, headers: dict[str, str]) -> bytes:
    encoding = headers.get("content-transfer-encoding", "binary").lower()
    if encoding in ("binary", "8bit", "7bit"):
        return content
    if encoding != "base64":
        raise MalformedBody(f"multipart/form-data: Content-Transfer-Encoding {encoding!r}; binary and base64 are read")
    try:
        return b64decode(content)
    except ValueError as error:
        raise MalformedBody(f"multipart/form-data: a part says it is base64 and is not: {error}") from error
