"""What a gzip holds, as it is inflated."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from gluon_lambda.batch.formats.rows import read_fully
from gluon_lambda.errors import ObjectRefused

if TYPE_CHECKING:
    from gzip import GzipFile

    from gluon_lambda.batch.formats.rows import Source

MAGIC = b"\x1f\x8b"


class FullReads:
    """A stream that never gives less than is asked for, save at its end: gzip's reader of headers counts on it."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def read(self, size: int, /) -> bytes:
        """The next ``size`` bytes; fewer at the end."""
        return read_fully(self._source, size)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """As the stream's."""
        return self._source.seek(offset, whence)


class Inflated:
    """The content of a gzip of any number of members (``rows.Source``); going back in it means to begin anew."""

    def __init__(self, stream: Source, *, where: str) -> None:
        """Inflate what ``stream`` holds from its start on; errors call it ``where``."""
        import gzip  # lazy: only compressed objects need it

        stream.seek(0)
        self._file: GzipFile = gzip.GzipFile(fileobj=FullReads(stream), mode="rb")
        self._where = where
        self._broken = (EOFError, zlib.error, gzip.BadGzipFile)

    def read(self, size: int, /) -> bytes:
        """The next bytes, at most ``size``; none at the end.

        Raises:
            ObjectRefused: The gzip breaks off or is damaged here; what is before it has been read.
        """
        try:
            return self._file.read1(size)
        except self._broken as error:
            raise ObjectRefused(
                f"{self._where}: its gzip breaks off or is damaged: {error}. Upload it again."
            ) from error

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go on reading at ``offset``, in bytes from the start of what is inflated."""
        try:
            return self._file.seek(offset, whence)
        except self._broken as error:
            raise ObjectRefused(
                f"{self._where}: its gzip breaks off or is damaged: {error}. Upload it again."
            ) from error
