"""From an object on S3 to its rows, whatever its format.

Each row is a request as HTTP would have it, so a model answers it as it answers that: an image is a body of its type, a JSON value an
``application/json`` body, an array a ``.npy`` body, and a row of CSV becomes JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from gluon_lambda.batch.formats import (
    archived_images,
    arrays,
    compressed,
    csv_rows,
    detection,
    images,
    json_lines,
    json_values,
)
from gluon_lambda.batch.formats.csv_rows import Columns
from gluon_lambda.batch.formats.rows import Limits, Reading, Source, Start, read_fully
from gluon_lambda.batch_records import Row
from gluon_lambda.errors import ObjectRefused

_ANY_COLUMNS = Columns()
_LIMITS = Limits()
# A file that was packed and then uploaded as a compressed one.
_MOST_GZIPS = 2


def open_rows(
    stream: Source,
    *,
    key: str,
    content_type: str = "",
    content_encoding: str = "",
    start: tuple[int, int] = (0, 0),
    columns: Columns = _ANY_COLUMNS,
    limits: Limits = _LIMITS,
) -> Iterator[Row]:
    """Read an object row by row. No more than a row is held.

    Args:
        stream: The object, seekable. What it raises comes through as it is.
        key: Its key or URI, which names it in errors, too.
        content_type: As S3 has it, lower case, without parameters.
        content_encoding: As S3 has it.
        start: The row to begin with, and the byte that it begins at: the number and ``offset`` of the row before. Offset 0 where that is not known.
        columns: What the model makes of a CSV's columns.
        limits: How large a row may be.

    Returns:
        The rows from ``start`` on; the same ones as without it. A row at fault carries a RequestError, and others follow it.

    Raises:
        ObjectRefused: Here or on the way: the object is empty, of no type that is read, or not what its type says; or it breaks off. The rows
            before that stand.
    """
    reading = _opened(stream, key, content_type, content_encoding)._replace(start=Start(*start), limits=limits)
    head = read_fully(reading.source, detection.HEAD_BYTES)
    if not head:
        raise ObjectRefused(f"{key} is empty.")
    kind = detection.find_kind(content_type, key, head, where=key)
    reading.source.seek(0)
    return _reader(kind, columns, is_inflated=reading.is_inflated, where=key)(reading)


def _opened(stream: Source, key: str, content_type: str, content_encoding: str) -> Reading:
    """The object's content, inflated where it is a gzip: what it begins with tells that better than its facts."""
    encodings = detection.other_encodings(content_encoding)
    if encodings:
        raise ObjectRefused(f"{key} has the content encoding {', '.join(encodings)}; gzip is read, and no encoding.")
    source: Source = stream
    gzips = 0
    while gzips < _MOST_GZIPS and _is_gzip(source):
        source = compressed.Inflated(source, where=key)
        gzips += 1
    if not gzips and detection.says_gzip(key, content_type, content_encoding) and stream.read(1):
        raise ObjectRefused(f"{key} is no gzip, as its name, type or content encoding says. Upload it again.")
    source.seek(0)
    return Reading(source, key, Start(), _LIMITS, is_inflated=gzips > 0)


def _is_gzip(source: Source) -> bool:
    source.seek(0)
    is_gzip = read_fully(source, len(compressed.MAGIC)) == compressed.MAGIC
    source.seek(0)
    return is_gzip


def _reader(
    kind: detection.Kind, columns: Columns, *, is_inflated: bool, where: str
) -> Callable[[Reading], Iterator[Row]]:
    if kind.format in (detection.ZIP, detection.NPZ) and is_inflated:
        raise ObjectRefused(
            f"{where} is a zip within a gzip, of which no part can be read alone. Upload the zip as it is."
        )
    readers: dict[str, Callable[[Reading], Iterator[Row]]] = {
        detection.IMAGE: partial(images.rows, content_type=kind.content_type),
        detection.JSON: json_values.rows,
        detection.LINES: json_lines.rows,
        detection.CSV: partial(csv_rows.rows, columns=columns, delimiter=","),
        detection.TSV: partial(csv_rows.rows, columns=columns, delimiter="\t"),
        detection.NPY: arrays.rows,
        detection.NPZ: arrays.named_rows,
        detection.ZIP: archived_images.zip_rows,
        detection.TAR: archived_images.tar_rows,
    }
    return readers[kind.format]
