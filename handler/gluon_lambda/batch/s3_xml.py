"""The XML of S3's requests and answers that batches use (Amazon S3 API Reference: CompleteMultipartUpload, DeleteObjects, ListObjectsV2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_NAMESPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


def completion(parts: Iterable[Mapping[str, Any]]) -> bytes:
    """CompleteMultipartUpload's body: each part's number, ETag and checksums."""
    told = "".join(f"<Part>{''.join(_element(name, value) for name, value in part.items())}</Part>" for part in parts)
    return f"<CompleteMultipartUpload {_NAMESPACE}>{told}</CompleteMultipartUpload>".encode()


def deletions(keys: Iterable[str]) -> bytes:
    """DeleteObjects' body; only what cannot be deleted is answered."""
    told = "".join(f"<Object>{_element('Key', key)}</Object>" for key in keys)
    return f"<Delete {_NAMESPACE}>{told}<Quiet>true</Quiet></Delete>".encode()


def deletions_answer(text: bytes) -> dict[str, Any]:
    """What could not be deleted: ``Errors`` with Code, Key and Message."""
    return {"Errors": [_fields(element) for element in _children(text, "Error")]}


def listing(text: bytes) -> dict[str, Any]:
    """ListObjectsV2's answer with ``encoding-type=url``: Contents with Key and Size, IsTruncated, NextContinuationToken.

    Raises:
        ResponseParserError: It is no XML.
    """
    entries = [_fields(element) for element in _children(text, "Contents")]
    return {
        "Contents": [{"Key": unquote_plus(entry["Key"]), "Size": int(entry["Size"])} for entry in entries],
        "IsTruncated": text_of(text, "IsTruncated") == "true",
        "NextContinuationToken": text_of(text, "NextContinuationToken"),
    }


def text_of(text: bytes, name: str) -> str:
    """The text of one element under the root; ``""`` where there is none."""
    return next((element.text or "" for element in _children(text, name)), "")


def _children(text: bytes, name: str) -> list[Element]:
    from xml.etree.ElementTree import ParseError, fromstring  # lazy: 5 ms that one-image objects do without

    try:
        root = fromstring(text)
    except ParseError as error:
        from botocore.parsers import ResponseParserError  # lazy: seldom

        raise ResponseParserError(f"S3's answer is no XML: {error}") from error
    return [element for element in root if _name(element) == name]


def _fields(element: Element) -> dict[str, str]:
    return {_name(child): child.text or "" for child in element}


def _name(element: Element) -> str:
    """Without the namespace, which not all of S3's kind send."""
    return element.tag.rpartition("}")[2]


def _element(name: str, value: object) -> str:
    text = str(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f"<{name}>{text}</{name}>"
