"""Zips and tars of images: a row for each file, in the archive's order, with the file's name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from gluon_lambda.archive_store.members import is_finders
from gluon_lambda.batch.formats import images, tar_members, zip_members
from gluon_lambda.batch.formats.rows import Reading, made
from gluon_lambda.batch_records import Row
from gluon_lambda.errors import UnsupportedMediaType
from gluon_lambda.types import Payload

# What reads a file, or refuses to.
Read = Callable[[], bytes]


def zip_rows(reading: Reading) -> Iterator[Row]:
    """A row for each file of a zip.

    Raises:
        ObjectRefused: It is cut short or garbled, or its members overlap.
    """
    files = (member for member in zip_members.members(reading) if is_counted(member.name))
    for number, member in enumerate(files):
        if number >= reading.start.row:
            read = partial(zip_members.content, reading, member)
            yield made(number, partial(_payload, member.name, read), name=shown(member.name))


def tar_rows(reading: Reading) -> Iterator[Row]:
    """A row for each file of a tar.

    Raises:
        ObjectRefused: It breaks off, or a header in it is garbled.
    """
    start = reading.start
    files = (entry for entry in tar_members.entries(reading) if is_counted(entry.name))
    for number, entry in enumerate(files, start.row if start.offset else 0):
        if number >= start.row:
            read = partial(tar_members.content, reading, entry)
            offset = reading.offset(entry.end)
            yield made(number, partial(_payload, entry.name, read), name=shown(entry.name), offset=offset)


def is_counted(name: str) -> bool:
    """Whether a member is a row: no folder, and nothing that macOS's Finder has added."""
    base = name.rpartition("/")[2]
    return not name.endswith("/") and not is_finders(name.removeprefix("./")) and base != ".DS_Store"


def shown(name: str) -> str:
    """A member's name as UTF-8 can hold it."""
    return name.encode(errors="backslashreplace").decode()


def _payload(name: str, read: Read) -> Payload:
    content = read()
    content_type = images.type_of_name(name) or images.type_of_content(content)
    if not content_type:
        raise UnsupportedMediaType(f"The member {name!r} is no image, by its name and by what it begins with")
    return images.image_payload(content, content_type)
