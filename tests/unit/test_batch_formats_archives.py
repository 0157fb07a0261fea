"""Zips and tars of images: a row for each file; a member that is not accepted costs itself only."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile

import pytest

from gluon_lambda.batch.formats.opening import open_rows
from gluon_lambda.batch.formats.rows import Limits
from gluon_lambda.errors import (
    InputMismatch,
    MalformedBody,
    ObjectRefused,
    PayloadTooLarge,
    RequestError,
    UnsupportedMediaType,
)
from tests.archive_samples import zip_with_mode
from tests.format_samples import FILES, body, image, read, tarred, zipped

TAR_FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_row_is_a_file_of_the_zip_in_its_order_with_its_name(method: int) -> None:
    rows = read(zipped(FILES, method), "a.zip")

    assert [row.name for row in rows] == [
        "a.png",
        "folder/b.jpeg",
        "notes.txt",
        "no_suffix",
        "../up.png",
        "/root.png",
        "ä" * 60 + ".png",
    ]
    images = [row for row in rows if row.payload]
    assert [row.name for row in images] == ["a.png", "folder/b.jpeg", "no_suffix", "ä" * 60 + ".png"]
    assert [body(row) for row in images] == [FILES[row.name] for row in images]
    assert [row.payload.parts[0].content_type for row in images if row.payload] == [
        "image/png",
        "image/jpeg",
        "image/gif",
        "image/png",
    ]


@pytest.mark.parametrize("form", TAR_FORMATS)
def test_a_tar_gives_the_rows_that_a_zip_gives(form: int) -> None:
    files = {f"./{name}": content for name, content in FILES.items() if name.isascii() and name[0] not in "/."}
    rows, from_zip = read(tarred(files, form), "a.tar"), read(zipped(FILES), "a.zip")

    expected = [row for row in from_zip if f"./{row.name}" in files]
    assert len(expected) == 4
    assert [(row.name, row.payload) for row in rows] == [(row.name, row.payload) for row in expected]


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_and_those_beyond_ascii_are_a_tars_too(form: int) -> None:
    names = ["long/" * 40 + "a.png", "ä" * 100 + ".png", "b.png"]

    assert [row.name for row in read(tarred(dict.fromkeys(names, image()), form), "a.tar")] == names


def test_the_refused_say_why() -> None:
    by_name = {row.name: row.error for row in read(zipped(FILES), "a.zip")}

    assert isinstance(by_name["notes.txt"], UnsupportedMediaType)
    assert "'notes.txt' is no image" in str(by_name["notes.txt"])
    assert isinstance(by_name["../up.png"], InputMismatch)
    assert "empty, . or .. part" in str(by_name["../up.png"])
    assert "absolute path" in str(by_name["/root.png"])


def flagged(content: bytes, flag: int) -> bytes:
    """The zip with a flag set for its first member, in both places that tell of it."""
    changed = bytearray(content)
    directory = content.index(b"PK\x01\x02")
    struct.pack_into("<H", changed, 6, flag)
    struct.pack_into("<H", changed, directory + 8, flag)
    return bytes(changed)


def overwritten(content: bytes, at: int, form: str, *values: int) -> bytes:
    changed = bytearray(content)
    struct.pack_into(form, changed, at, *values)
    return bytes(changed)


GOOD = {"bad.png": image(), "good.png": image("PNG", (5, 5))}
STORED = zipped(GOOD, zipfile.ZIP_STORED)
DIRECTORY = STORED.index(b"PK\x01\x02")


@pytest.mark.parametrize(
    ("content", "kind", "message"),
    [
        (flagged(STORED, 1), InputMismatch, "is encrypted"),
        (zipped(GOOD, zipfile.ZIP_LZMA), InputMismatch, "compressed with zip method 14"),
        (overwritten(STORED, 40, "B", 0), MalformedBody, "damaged"),
        (overwritten(STORED, DIRECTORY + 16, "<L", 1), MalformedBody, "not what the zip directory says"),
        (overwritten(STORED, DIRECTORY + 24, "<L", 1), MalformedBody, "not what the zip directory says"),
        (overwritten(STORED, DIRECTORY + 24, "<L", 1 << 30), PayloadTooLarge, "1,073,741,824 bytes"),
        (overwritten(STORED, DIRECTORY + 42, "<L", 5), MalformedBody, "not what the zip directory says"),
        (overwritten(STORED, DIRECTORY + 42, "<L", 1 << 30), MalformedBody, "cut short"),
        (overwritten(zipped(GOOD), 45, "<L", 0xFFFFFFFF), MalformedBody, "damaged"),
        (zipped({"bad.png": bytes(20 << 20), "good.png": image()}), PayloadTooLarge, "as zip bombs do"),
        (
            zipped({"bad.png": bytes(65 << 20), "good.png": image()}),
            PayloadTooLarge,
            "68,157,440 bytes, over the 67,108,864",
        ),
    ],
)
def test_a_zips_member_at_fault_costs_itself_only(content: bytes, kind: type[RequestError], message: str) -> None:
    bad, *good = read(content, "a.zip")

    assert isinstance(bad.error, kind)
    assert message in str(bad.error)
    assert bad.name == "bad.png"
    assert [row.name for row in good] == ["good.png"]
    assert all(row.error is None or "method 14" in str(row.error) for row in good)


def test_a_member_that_unpacks_to_more_than_it_says_is_stopped_there() -> None:
    content = zipped({"bad.png": bytes(1 << 20), "good.png": image()})
    directory = content.index(b"PK\x01\x02")
    lying = overwritten(overwritten(content, 22, "<L", 1000), directory + 24, "<L", 1000)

    bad, good = read(lying, "a.zip")

    assert isinstance(bad.error, MalformedBody)
    assert good.error is None


def test_a_link_in_a_zip_costs_itself_only() -> None:
    *_, link = read(zip_with_mode("link.png", b"/etc/passwd", 0o120777), "a.zip")

    assert link.name == "link.png"
    assert "link or a device" in str(link.error)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (STORED[:-1], "cut short or garbled"),
        (STORED[:100], "no directory at its end"),
        (STORED + b"x", "something follows"),
        (b"x" + STORED, "not where its end says"),
        (overwritten(STORED, len(STORED) - 22 + 10, "<H", 3), "says 3 members and lists 2"),
        (overwritten(STORED, DIRECTORY, "<L", 0), "an entry of its directory is garbled"),
        (overwritten(STORED, DIRECTORY + 20, "<L", 1 << 20), "overlap"),
    ],
)
def test_a_zip_that_is_not_whole_is_an_error_of_the_object(content: bytes, message: str) -> None:
    with pytest.raises(ObjectRefused, match=message) as refused:
        read(content, "in/a.zip")
    assert "in/a.zip" in str(refused.value)


@pytest.mark.slow
def test_a_zip64_is_read() -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for at in range(66_000):
            archive.writestr(f"{at}.txt", b"")
        archive.writestr("last.png", image())

    last = read(stream.getvalue(), "a.zip", start=(66_000, 0))

    assert [(row.number, row.name, row.error) for row in last] == [(66_000, "last.png", None)]


def tar_of(*members: tuple[str, bytes, bytes]) -> bytes:
    """A tar of names, types and contents."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, kind, content in members:
            member = tarfile.TarInfo(name)
            member.type, member.size, member.linkname = kind, len(content), "target"
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE],
)
def test_a_link_or_a_device_in_a_tar_costs_itself_only(kind: bytes) -> None:
    content = tar_of(("bad.png", kind, b""), ("good.png", tarfile.REGTYPE, image()))

    bad, good = read(content, "a.tar")

    assert isinstance(bad.error, InputMismatch)
    assert "is a link, a device or a sparse file" in str(bad.error)
    assert (good.name, body(good)) == ("good.png", image())


def test_a_file_of_a_tar_that_is_too_large_is_read_over() -> None:
    content = tarred({"bad.png": bytes(5000), "../up.png": image(), "good.png": image()})

    bad, up, good = read(content, "a.tar", limits=Limits(file_bytes=4999))

    assert isinstance(bad.error, PayloadTooLarge)
    assert "empty, . or .. part" in str(up.error)
    assert good.error is None


TAR = tarred({"a.png": image(), "b.png": image(), "c.png": image()}, tarfile.USTAR_FORMAT)


@pytest.mark.parametrize(
    ("content", "rows", "message"),
    [
        (TAR[:512], 0, "breaks off in the member 'a.png'"),
        (TAR[:1024], 1, "breaks off or is garbled at byte 1,024"),
        (TAR[:1500], 1, "breaks off or is garbled at byte 1,024"),
        (TAR[:2000], 2, "breaks off or is garbled at byte 2,048"),
        (TAR[:1024] + b"garbage" * 500, 1, "breaks off or is garbled at byte 1,024"),
        (TAR[:3072], 3, "breaks off or is garbled at byte 3,072"),
    ],
)
def test_a_tar_that_breaks_off_is_an_error_of_the_object_after_the_files_before_it(
    content: bytes, rows: int, message: str
) -> None:
    found: list[str] = []
    with pytest.raises(ObjectRefused, match=message):
        found.extend(row.name for row in open_rows(io.BytesIO(content), key="a.tar"))
    assert len(found) == rows


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_a_name_of_megabytes_is_not_held(kind: bytes) -> None:
    with pytest.raises(ObjectRefused, match="a name in the tar has 2,000,000 bytes"):
        read(tar_of(("name", kind, b"x" * 2_000_000), ("a.png", tarfile.REGTYPE, image())), "a.tar")


@pytest.mark.parametrize(
    "record",
    [b"", b"5 path", b"99999999 path=x\n", b"x path=y\n", b"0 path=y\n", b"\xff=\xff", b"12 path=\xff\xff\xff\n"],
)
def test_a_garbled_record_before_a_member_ends_nothing(record: bytes) -> None:
    rows = read(tar_of(("x", tarfile.XHDTYPE, record), ("a.png", tarfile.REGTYPE, image())), "a.tar")

    assert len(rows) == 1
    rows[0].name.encode()


def test_the_map_of_a_sparse_files_holes_is_read_over() -> None:
    header = tarfile.TarInfo("sparse.png")
    header.type, header.size = tarfile.GNUTYPE_SPARSE, 600
    block = bytearray(header.tobuf(tarfile.GNU_FORMAT))
    block[482] = 1
    block[148:156] = b"%06o\0 " % (256 + sum(block[:148]) + sum(block[156:]))
    goes_on, ends = bytearray(512), bytes(512)
    goes_on[504] = 1

    rows = read(bytes(block + goes_on + ends) + bytes(1024) + tarred({"good.png": image()}), "a.tar")

    assert [(row.name, row.error is None) for row in rows] == [("sparse.png", False), ("good.png", True)]


def test_a_links_size_is_that_of_what_it_leads_to() -> None:
    link = tarfile.TarInfo("link.png")
    link.type, link.linkname, link.size = tarfile.SYMTYPE, "target", 5000

    rows = read(link.tobuf() + tarred({"good.png": image()}), "a.tar")

    assert [(row.name, row.error is None) for row in rows] == [("link.png", False), ("good.png", True)]


def test_a_size_below_zero_is_an_error_of_the_object() -> None:
    block = bytearray(tarfile.TarInfo("a.png").tobuf())
    block[124:136] = b"\xff" * 12
    block[148:156] = b"%06o\0 " % (256 + sum(block[:148]) + sum(block[156:]))

    with pytest.raises(ObjectRefused, match="a size is negative"):
        read(bytes(block) + TAR, "a.tar")
