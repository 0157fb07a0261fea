"""Objects of every format that batches read, and streams that are as awkward as S3's may be."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from gluon_lambda.batch.formats.csv_rows import Columns
from gluon_lambda.batch.formats.opening import open_rows
from gluon_lambda.batch.formats.rows import Limits
from gluon_lambda.batch_records import Row


class Sample(NamedTuple):
    """An object: its key, its bytes, and how many rows it has."""

    key: str
    content: bytes
    rows: int


class ShortReads(io.BytesIO):
    """A stream that gives at most ``most`` bytes at a time, as a stream may."""

    def __init__(self, content: bytes, most: int) -> None:
        super().__init__(content)
        self._most = most

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(self._most if size is None or size < 0 else min(size, self._most))


class Repeated(io.RawIOBase):
    """A stream of ``first``, then ``times`` times ``unit``, then ``last``, of which nothing more is held."""

    def __init__(self, unit: bytes, times: int, *, first: bytes = b"", last: bytes = b"") -> None:
        self._unit, self._first, self._last = unit, first, last
        self._repeated = len(first) + len(unit) * times
        self._position = 0

    def read(self, size: int = -1, /) -> bytes:
        piece = self._piece(size)
        self._position += len(piece)
        return piece

    def seek(self, offset: int, whence: int = 0, /) -> int:
        assert whence == 0
        self._position = offset
        return offset

    def _piece(self, size: int) -> bytes:
        if self._position < len(self._first):
            return self._first[self._position :][:size]
        if self._position >= self._repeated:
            return self._last[self._position - self._repeated :][:size]
        begin = (self._position - len(self._first)) % len(self._unit)
        most = min(size, self._repeated - self._position)
        return (self._unit * (most // len(self._unit) + 2))[begin : begin + most]


def read(
    content: bytes | io.IOBase,
    key: str = "in/rows",
    content_type: str = "",
    *,
    encoding: str = "",
    start: tuple[int, int] = (0, 0),
    columns: Columns | None = None,
    limits: Limits | None = None,
) -> list[Row]:
    """All rows of an object."""
    stream: Any = io.BytesIO(content) if isinstance(content, bytes) else content
    return list(
        open_rows(
            stream,
            key=key,
            content_type=content_type,
            content_encoding=encoding,
            start=start,
            columns=columns or Columns(),
            limits=limits or Limits(),
        )
    )


def body(row: Row) -> Any:
    """The one part of a row: its value, parsed where it is JSON."""
    assert row.payload is not None, row.error
    (part,) = row.payload.parts
    assert part.name == "body"
    return json.loads(part.value) if part.content_type == "application/json" else part.value


def told(row: Row) -> tuple[Any, ...]:
    """All of a row but its offset, comparable."""
    error = None if row.error is None else (type(row.error).__name__, str(row.error))
    return row.number, row.payload, error, row.name


def image(kind: str = "PNG", size: tuple[int, int] = (4, 3)) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, "red").save(stream, kind)
    return stream.getvalue()


def npy(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def npz(save: Callable[..., None] = np.savez, **arrays: Any) -> bytes:
    stream = io.BytesIO()
    save(stream, **arrays)
    return stream.getvalue()


def zipped(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def tarred(files: Mapping[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


LINES = b'\xef\xbb\xbf{"a": 1}\n\n[1, NaN]\r\nno json\n\xff\n' + b"7" * 90 + b'\n  "x" \n{"deep": [{}]}\n \n\n'
ARRAY = b' [1, {"a": "]},\\""} , foo,\n[1, [2, "\\\\"]], NaN, "' + b"x" * 90 + b'", {"b": "\\ud83d\\ude00"} ]\n'
TABLE = b'x,"a, b"\r\n1,2\r\n3\r\n"say ""so""\r\ntwice",+.5\r\n1,nan\r\n"open,1\r\n5,6\r\n\r\n7,"x"y\r\n007,1e5\r\n'
NUMBERS = b"1,2.5\n-3,4e2\n,5\n6,7"
FILES = {
    "a.png": image(),
    "folder/": b"",
    "__MACOSX/._a.png": b"attributes",
    "folder/b.jpeg": image("JPEG"),
    "folder/._b.jpeg": b"attributes",
    ".DS_Store": b"Finder",
    "notes.txt": b"no image",
    "no_suffix": image("GIF"),
    "../up.png": image(),
    "/root.png": image(),
    "ä" * 60 + ".png": image("BMP"),
}
LONG_NAMES = {**FILES, "long/" * 40 + "c.png": image(), "empty.png": b""}
COUNTED = 7  # of FILES

SAMPLES = [
    Sample("lines.jsonl", LINES, 8),
    Sample("lines.json", b'{"a": 1}\n{"a": 2}\nfoo\n', 3),
    Sample("array.json", ARRAY, 7),
    Sample("value.json", b'{"a":\n1}', 1),
    Sample("table.csv", TABLE, 9),
    Sample("table.tsv", TABLE.replace(b",", b"\t"), 9),
    Sample("numbers.csv", NUMBERS, 4),
    Sample("rows.npy", npy(np.arange(24, dtype=np.float32).reshape(4, 3, 2)), 4),
    Sample("fortran.npy", npy(np.asfortranarray(np.arange(24).reshape(4, 6))), 4),
    Sample("stored.npz", npz(x=np.arange(8.0).reshape(4, 2), y=np.arange(4)), 4),
    Sample("deflated.npz", npz(np.savez_compressed, x=np.arange(8.0).reshape(4, 2), y=np.arange(4)), 4),
    Sample("image.png", image(), 1),
    Sample("images.zip", zipped(FILES), COUNTED),
    Sample("stored.zip", zipped(LONG_NAMES, zipfile.ZIP_STORED), COUNTED + 2),
    Sample("images.tar", tarred(LONG_NAMES), COUNTED + 2),
    Sample("gnu.tar", tarred(LONG_NAMES, tarfile.GNU_FORMAT), COUNTED + 2),
]
GZIPS = [
    Sample(f"{sample.key}.gz", gzip.compress(sample.content), sample.rows)
    for sample in SAMPLES
    if not sample.key.endswith((".zip", ".npz"))
]
EVERY_SAMPLE = [*SAMPLES, *GZIPS]
