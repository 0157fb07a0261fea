"""The lines of results and of error reports: one JSON value for each row, in the rows' order.

``{"index": 0, "prediction": …}``, or ``{"index": 0, "error": {"type", "class", "message"}}``; ``"name"`` follows the index where the row has
one. Nothing of a line depends on when, where or how often it was made, save an error's text.
"""

from __future__ import annotations

import re
from binascii import b2a_base64
from collections.abc import Iterator
from typing import Any, NamedTuple

from gluon_lambda.batch.failures import PERMANENT, TRANSIENT
from gluon_lambda.batch.objects import Pieces
from gluon_lambda.errors import InferenceError
from gluon_lambda.services.json_text import json_bytes

# JSON text holds no bare line feed (RFC 8259, section 7), so that lines can be told apart, and found again, without being parsed.
_ERROR_LINES = re.compile(rb'^\{"index":[0-9]+,(?:"name":"(?:[^"\\]|\\.)*",)?"error":.*\n', re.MULTILINE)


class Line(NamedTuple):
    """One row's line.

    Attributes:
        text: UTF-8 JSON that ends with a line feed.
        failed: Whether it tells of an error.
    """

    text: bytes
    failed: bool


def prediction_line(number: int, value: Any, *, name: str = "") -> Line:
    """The line of a row that was answered; an error's where JSON cannot hold the answer.

    Args:
        number: Which row of its object it is, from 0 on.
        value: What the service answered: JSON-able, NumPy's and MXNet's values included; bytes become text where they are UTF-8, and
            ``{"base64": …}`` where they are not.
        name: The row's name within its object; ``""`` for none.
    """
    try:
        text = json_bytes(_text_or_base64(bytes(value)) if isinstance(value, (bytes, bytearray, memoryview)) else value)
    except InferenceError as error:
        return error_line(number, error, transient=False, name=name)
    return Line(b'%b"prediction":%b}\n' % (_opening(number, name), text), failed=False)


def error_line(number: int, error: BaseException, *, transient: bool, name: str = "") -> Line:
    """The line of a row that was not answered.

    Args:
        number: Which row of its object it is, from 0 on.
        error: Why; its class's name is the stable code.
        transient: Whether the same row may be answered another time.
        name: The row's name within its object; ``""`` for none.
    """
    about = {"type": type(error).__name__, "class": TRANSIENT if transient else PERMANENT, "message": str(error)}
    return Line(b'%b"error":%b}\n' % (_opening(number, name), json_bytes(about)), failed=True)


def error_lines(blocks: Pieces) -> Iterator[bytes]:
    """The error lines of results that come in blocks of any size, several lines in one piece. The last line has its line feed, too."""
    rest: list[bytes] = []
    for each in blocks:
        block = bytes(each)
        ending = block.rfind(b"\n") + 1
        if ending:
            yield from _found(b"".join((*rest, block[:ending])))
            rest = []
        rest.append(block[ending:])


def _found(lines: bytes) -> Iterator[bytes]:
    text = b"".join(_ERROR_LINES.findall(lines))
    if text:
        yield text


def _opening(number: int, name: str) -> bytes:
    return b'{"index":%d,"name":%b,' % (number, json_bytes(name)) if name else b'{"index":%d,' % number


def _text_or_base64(value: bytes) -> Any:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": b2a_base64(value, newline=False).decode("ascii")}
