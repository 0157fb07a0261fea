"""JSON Lines: a row is a line, so line n is always row n - 1, whatever is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import NoReturn

from gluon_lambda.batch.formats.lines import BLANKS, Line, decoded, read_lines, without_last_blanks
from gluon_lambda.batch.formats.rows import Limits, Reading, made
from gluon_lambda.batch_records import Row
from gluon_lambda.errors import MalformedBody, PayloadTooLarge
from gluon_lambda.types import Part, Payload

JSON_TYPE = "application/json"


def rows(reading: Reading) -> Iterator[Row]:
    """A row for each line."""
    start, first = reading.start, reading.start.row if reading.start.offset else 0
    reading.source.seek(start.offset)
    lines = read_lines(reading.source, start=start.offset, longest=reading.limits.row_bytes)
    for number, line in enumerate(without_last_blanks(lines), first):
        if number >= start.row:
            make = partial(_payload, line, number + 1, reading.limits)
            yield made(number, make, offset=reading.offset(line.end))


def _payload(line: Line, number: int, limits: Limits) -> Payload:
    if line.content is None:
        raise PayloadTooLarge(f"Line {number} is longer than the {limits.row_bytes:,} bytes that a row may have")
    if not line.content.strip(BLANKS):
        raise MalformedBody(f"Line {number} is blank")
    return json_payload(line.content, called=f"Line {number}")


def json_payload(raw: bytes, *, called: str) -> Payload:
    """What a model is asked with a JSON value: its bytes, as the body of a request.

    Args:
        raw: The value in UTF-8, blanks around it.
        called: How to call it in errors.

    Raises:
        MalformedBody: It is not UTF-8, or not JSON as RFC 8259 has it: NaN and Infinity are none.
    """
    try:
        # Services of code take what Python's parser takes, which is more than JSON: checked here for all of them.
        _DECODER.decode(decoded(raw, called=called))
    except json.JSONDecodeError as error:
        raise MalformedBody(f"{called} is not JSON: {error.msg} at character {error.pos + 1}") from error
    except (ValueError, RecursionError) as error:  # NaN, numbers of absurd length, nested absurdly deep
        raise MalformedBody(f"{called} is not JSON: {error}") from error
    return Payload((Part("body", raw.strip(BLANKS), JSON_TYPE),))


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
