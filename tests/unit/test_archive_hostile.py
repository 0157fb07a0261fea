"""Archives that are damaged or not trusted: each is a clear ArchiveError, and nothing is left behind."""

from __future__ import annotations

import gzip
import io
import os
import random
import stat
import struct
import tarfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from gluon_lambda.archive_store.archive import Archive, open_archive
from gluon_lambda.archive_store.cache import Cache, open_cache
from gluon_lambda.archive_store.location import parse_location
from gluon_lambda.archive_store.members import Limits
from gluon_lambda.errors import ArchiveCorrupt, ArchiveError, ArchiveNotFound, ArchiveRejected, ManifestInvalid
from tests.archive_samples import FILES_0_4, FILES_1_X, tar_bytes, write_folder, zip_bytes, zip_with_mode

SMALL = {**FILES_0_4, "digits-0007.params": b"weights " * 20}
NO_LIMITS = Limits()
Opener = Callable[..., Archive]


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return open_cache(str(tmp_path / "cache"))


@pytest.fixture
def open_bytes(tmp_path: Path, cache: Cache) -> Iterator[Opener]:
    """Opens an archive of these bytes, reads everything and unpacks it."""
    with ExitStack() as opened:

        def open_all(content: bytes, *, limits: Limits = NO_LIMITS, fragment: str = "") -> Archive:
            opened.close()
            path = tmp_path / "bad.model"
            path.write_bytes(content)
            archive = open_archive("bad", parse_location(f"{path}{fragment}"), cache=cache, limits=limits)
            opened.callback(archive.close)
            for member in archive.members:
                archive.read(member)
            archive.folder()
            return archive

        yield open_all


@pytest.fixture(autouse=True)
def nothing_is_left_behind(tmp_path: Path) -> Iterator[None]:
    yield
    cache = tmp_path / "cache"
    left = [path for kind in ("incoming", "archives") for path in cache.glob(f"{kind}/*")]
    assert left == []
    assert all((tree / "MANIFEST.json").stat().st_size for tree in cache.glob("trees/*"))
    assert {path.name for path in tmp_path.iterdir()} <= {"cache", "bad.model", "folder"}


UNSAFE = {
    "/etc/passwd": "absolute path",
    "../outside": "..",
    "a/../../outside": "..",
    "C:/x": "drive letter",
    "c:x": "drive letter",
    "a\\b": "backslash",
    "a//b": "empty",
    "./a": ". or ..",
    "a/.": ". or ..",
    "a\nb": "control character",
    "x" * 256: "too long",
    "long/" * 210 + "x": "too long",
}


@pytest.mark.parametrize(("name", "reason"), UNSAFE.items())
def test_an_unsafe_name_in_a_zip_is_refused_by_name(open_bytes: Opener, name: str, reason: str) -> None:
    content = zip_bytes({**FILES_0_4, "Q" * len(name.encode()): b"x"}).replace(b"Q" * len(name.encode()), name.encode())
    with pytest.raises(ArchiveRejected) as caught:
        open_bytes(content)
    assert "bad.model" in str(caught.value)
    assert repr(name) in str(caught.value)
    assert reason in str(caught.value)


@pytest.mark.parametrize("name", [name for name in UNSAFE if name != "./a"])
def test_an_unsafe_name_in_a_tar_is_refused_by_name(open_bytes: Opener, name: str) -> None:
    with pytest.raises(ArchiveRejected) as caught:
        open_bytes(tar_bytes([*FILES_0_4.items(), (name, b"x")]))
    assert repr(name) in str(caught.value)


def test_a_name_that_is_no_utf_8_is_refused_in_a_tar(open_bytes: Opener) -> None:
    with pytest.raises(ArchiveRejected, match="no UTF-8"):
        open_bytes(tar_bytes([*FILES_0_4.items(), ("a\udcff", b"x")]))


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK])
def test_a_link_or_device_in_a_zip_is_refused(open_bytes: Opener, kind: int) -> None:
    with pytest.raises(ArchiveRejected, match="'evil' is a link or a device"):
        open_bytes(zip_with_mode("evil", b"/etc/passwd", kind | 0o777))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_a_link_or_device_in_a_tar_is_refused(open_bytes: Opener, kind: bytes) -> None:
    evil = tarfile.TarInfo("evil")
    evil.type, evil.linkname = kind, "MANIFEST.json"
    with pytest.raises(ArchiveRejected, match="'evil' is a link or a device"):
        open_bytes(tar_bytes(FILES_0_4, extra=(evil,)))


@pytest.mark.parametrize(
    ("first", "second"),
    [("a.py", "a.py"), ("A.py", "a.py"), ("x/a.py", "y/a.py"), ("x/a.py", "A.PY"), ("a", "a"), ("straße", "STRASSE")],
)
@pytest.mark.parametrize("make", [zip_bytes, tar_bytes])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_that_come_to_one_file_are_refused(
    open_bytes: Opener, make: Callable[..., bytes], first: str, second: str
) -> None:
    with pytest.raises(ArchiveRejected, match=r"come to the same file|in it twice"):
        open_bytes(make([*FILES_0_4.items(), (first, b"1"), (second, b"2")]))


@pytest.mark.parametrize("make", [zip_bytes, tar_bytes])
def test_a_file_that_is_also_a_folder_is_refused(open_bytes: Opener, make: Callable[..., bytes]) -> None:
    with pytest.raises(ArchiveRejected, match="lies in it"):
        open_bytes(make({**FILES_1_X, "lib": b"1"}))


def test_folders_may_repeat_base_names_in_a_1_x_archive(open_bytes: Opener) -> None:
    archive = open_bytes(zip_bytes({**FILES_1_X, "a/__init__.py": b"", "b/__init__.py": b"", "MANIFEST.JSON.bak": b""}))
    assert "a/__init__.py" in archive.members
    for tree in Path(archive.folder()).parent.iterdir():  # it holds no top-level manifest, as the last fixture wants
        (tree / "MANIFEST.json").write_text("-")


@pytest.mark.parametrize("make", [lambda files: zip_bytes(files, method=zipfile.ZIP_DEFLATED), tar_bytes])
def test_a_bomb_is_refused_by_its_ratio_and_zero_filled_parameters_are_not(
    open_bytes: Opener, make: Callable[..., bytes]
) -> None:
    zeros = make({**FILES_0_4, "digits-0007.params": bytes(2_000_000)})
    assert open_bytes(zeros).read("digits-0007.params") == bytes(2_000_000)
    with pytest.raises(ArchiveRejected, match="as zip bombs do"):
        open_bytes(make({**SMALL, "b": bytes(3_000_000)}), limits=Limits(ratio_from_bytes=1_000_000))


@pytest.mark.parametrize("make", [zip_bytes, tar_bytes])
def test_an_archive_over_the_size_limit_is_refused(open_bytes: Opener, make: Callable[..., bytes]) -> None:
    with pytest.raises(ArchiveRejected, match="over the limit of 1,000,000"):
        open_bytes(make(FILES_0_4), limits=Limits(total_bytes=1_000_000))


def test_a_tar_whose_kept_tree_is_over_the_limit_does_not_stay(open_bytes: Opener, cache: Cache) -> None:
    open_bytes(tar_bytes(FILES_0_4)).close()
    assert len(os.listdir(f"{cache.folder}/trees")) == 1
    with pytest.raises(ArchiveRejected, match="over 2 files"):
        open_bytes(tar_bytes(FILES_0_4), limits=Limits(members=2))
    assert os.listdir(f"{cache.folder}/trees") == []


@pytest.mark.parametrize("make", [zip_bytes, tar_bytes])
def test_an_archive_of_too_many_members_is_refused(open_bytes: Opener, make: Callable[..., bytes]) -> None:
    with pytest.raises(ArchiveRejected, match="over 10 files"):
        open_bytes(make({**SMALL, **{str(number): b"" for number in range(20)}}), limits=Limits(members=10))


def test_a_member_that_reaches_into_the_next_one_is_refused(open_bytes: Opener) -> None:
    inner = zip_bytes({"inner": b"x"})[: len(b"PK\x03\x04") + 26 + 5 + 1]
    files = {**SMALL, "outer": inner}
    content = bytearray(zip_bytes(files))
    entries = [i for i in range(len(content)) if content[i : i + 4] == b"PK\x01\x02"]
    # A second entry for what lies inside the first one's content, appended to the directory by hand.
    at = content.index(inner)
    crc = zlib.crc32(b"x")
    fields = (b"PK\x01\x02", 20, 0, 20, 0, 0, 0, 0, 33, crc, 1, 1, 5, 0, 0, 0, 0, 0, at)
    extra = struct.pack("<4s4B4H3L5H2L", *fields) + b"inner"
    end = content.rfind(b"PK\x05\x06")
    count, size, offset = struct.unpack_from("<HLL", content, end + 10)
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count + 1, count + 1, size + len(extra), offset, 0)
    assert len(entries) == count
    with pytest.raises(ArchiveRejected, match="'outer' overlaps"):
        open_bytes(bytes(content[:end]) + extra + tail)


def patched(content: bytes, name: bytes, offset: int, value: bytes, *, magic: bytes = b"PK\x01\x02") -> bytes:
    """The zip with bytes of ``name``'s central (or local) header replaced."""
    size = 46 if magic == b"PK\x01\x02" else 30
    position = content.index(magic, max(0, content.rfind(name) - size if size == 46 else content.find(name) - size))
    changed = bytearray(content)
    changed[position + offset : position + offset + len(value)] = value
    return bytes(changed)


@pytest.mark.parametrize(
    ("offset", "value", "error", "said"),
    [
        (8, b"\x01\x00", ArchiveRejected, "encrypted"),
        (10, b"\x0c\x00", ArchiveRejected, "zip method 12"),
        (16, b"\0\0\0\0", ArchiveCorrupt, "not what the zip directory says"),
        (20, b"\x05\0\0\0", ArchiveCorrupt, "not what the zip directory says"),
        (24, b"\xff\xff\xff\x7f", ArchiveCorrupt, "not what the zip directory says"),
        (42, b"\x01\0\0\0", ArchiveCorrupt, "not what the zip directory says"),
        (42, b"\xf0\xff\xff\xff", ArchiveCorrupt, "cut short or garbled"),
        (0, b"XX", ArchiveCorrupt, "entry 3 of its zip directory is garbled"),
    ],
)
def test_a_zip_that_contradicts_itself_is_refused(
    open_bytes: Opener, offset: int, value: bytes, error: type[ArchiveError], said: str
) -> None:
    content = zip_bytes(SMALL, method=zipfile.ZIP_DEFLATED)
    with pytest.raises(error, match=said):
        open_bytes(patched(content, b"signature.json", offset, value), limits=Limits(total_bytes=1 << 40))


def test_a_size_that_lies_in_both_headers_is_found_by_unpacking(open_bytes: Opener) -> None:
    content = zip_bytes(SMALL, method=zipfile.ZIP_DEFLATED)
    for size in (100, 161, 10_000):
        lie = struct.pack("<L", size)
        once = patched(content, b"digits-0007.params", 24, lie)
        with pytest.raises(ArchiveCorrupt, match=r"'digits-0007.params' is (damaged|not what)"):
            open_bytes(patched(once, b"digits-0007.params", 22, lie, magic=b"PK\x03\x04"))


def deflated_by_hand(packed: bytes, content: bytes, *, size: int | None = None) -> bytes:
    """A zip with the labels deflated as ``packed``, its headers saying what ``content`` is (or another size)."""
    archive = zip_bytes({**SMALL, "synset.txt": packed})
    crc, length = struct.pack("<L", zlib.crc32(content)), struct.pack("<L", len(content) if size is None else size)
    for magic, method_at in ((b"PK\x01\x02", 10), (b"PK\x03\x04", 8)):
        for offset, value in ((method_at, b"\x08\x00"), (method_at + 6, crc), (method_at + 14, length)):
            archive = patched(archive, b"synset.txt", offset, value, magic=magic)
    return archive


def deflate(content: bytes) -> bytes:
    """A raw deflate stream."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(content) + packer.flush()


def test_a_deflated_member_must_end_where_the_directory_says(open_bytes: Opener) -> None:
    content = b"zero\none\n"
    assert open_bytes(deflated_by_hand(deflate(content), content)).labels == ("zero", "one")
    for packed in (deflate(content) + b"junk", zlib.compressobj(9, 8, -15).compress(content) + b"\x4a"):
        with pytest.raises(ArchiveCorrupt, match=r"'synset.txt' is damaged"):
            open_bytes(deflated_by_hand(packed, content))
    unfinished = zlib.compressobj(0, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = unfinished.compress(content) + unfinished.flush(zlib.Z_SYNC_FLUSH)
    with pytest.raises(ArchiveCorrupt, match=r"'synset.txt' is damaged"):
        open_bytes(deflated_by_hand(packed, content))


def test_a_member_that_unpacks_to_more_than_it_says_is_stopped_at_once(open_bytes: Opener) -> None:
    bomb = bytes(100_000_000)
    archive = deflated_by_hand(deflate(bomb), bomb, size=100)
    tracemalloc.start()
    with pytest.raises(ArchiveCorrupt, match=r"'synset.txt' is damaged"):
        open_bytes(archive)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10_000_000


def test_a_stored_members_two_sizes_must_be_equal_before_anything_is_read(tmp_path: Path, cache: Cache) -> None:
    lie = struct.pack("<L", 161)
    once = patched(zip_bytes(SMALL), b"digits-0007.params", 24, lie)
    (tmp_path / "bad.model").write_bytes(patched(once, b"digits-0007.params", 22, lie, magic=b"PK\x03\x04"))
    with pytest.raises(ArchiveCorrupt, match="not what the zip directory says"):
        open_archive("bad", parse_location(str(tmp_path / "bad.model")), cache=cache)


def test_a_directory_that_lists_another_number_of_members_is_refused(open_bytes: Opener) -> None:
    content = bytearray(zip_bytes(SMALL))
    content[content.rfind(b"PK\x05\x06") + 10] += 1
    with pytest.raises(ArchiveCorrupt, match="it says 6 members and lists 5"):
        open_bytes(bytes(content))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_one_wrong_byte_of_content_is_found_by_its_checksum(open_bytes: Opener, method: int) -> None:
    content = bytearray(zip_bytes(FILES_0_4, method=method))
    content[600_000] ^= 1
    with pytest.raises(ArchiveCorrupt, match=r"bad\.model: the member 'digits-0007\.params' is damaged"):
        open_bytes(bytes(content))


@pytest.mark.parametrize("suffix", [b"", b"comment"])
def test_an_archive_comment_is_accepted_and_what_follows_the_end_is_not(open_bytes: Opener, suffix: bytes) -> None:
    stream = io.BytesIO(zip_bytes(SMALL))
    with zipfile.ZipFile(stream, "a") as archive:
        archive.comment = suffix
    assert open_bytes(stream.getvalue()).manifest.model_name == "digits"
    with pytest.raises(ArchiveCorrupt, match="follows its zip directory"):
        open_bytes(stream.getvalue() + b"\0")


def test_two_zips_behind_one_another_are_refused(open_bytes: Opener) -> None:
    with pytest.raises(ArchiveCorrupt, match="not where its end says"):
        open_bytes(zip_bytes(SMALL) + zip_bytes(SMALL))


def test_zip64_headers_are_read(open_bytes: Opener) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in SMALL.items():
            with archive.open(name, "w", force_zip64=True) as sink:
                sink.write(content)
    content = stream.getvalue()
    assert open_bytes(content).read("MANIFEST.json") == SMALL["MANIFEST.json"]
    # The same with a zip64 end record, as an archive of 4 GiB has.
    end = content.rfind(b"PK\x05\x06")
    count, size, offset = struct.unpack_from("<HLL", content, end + 10)
    end64 = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, offset)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    assert open_bytes(content[:end] + end64 + locator + tail).read("MANIFEST.json") == SMALL["MANIFEST.json"]
    with pytest.raises(ArchiveCorrupt, match="zip64"):
        open_bytes(content[:end] + end64 + tail)


def test_sizes_that_follow_the_content_are_read(open_bytes: Opener) -> None:
    class Unseekable(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *_: int) -> int:
            raise OSError

        def tell(self) -> int:
            raise OSError

    stream = Unseekable()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in SMALL.items():
            archive.writestr(name, content)
    assert open_bytes(stream.getvalue()).read("synset.txt") == SMALL["synset.txt"]


@pytest.mark.parametrize("content", [b"", b"P", b"PK\x03\x04", b"PK\x05\x06" + bytes(18), b"\x1f\x8b", b"text" * 99])
def test_what_is_no_archive_is_refused(open_bytes: Opener, content: bytes) -> None:
    with pytest.raises((ArchiveCorrupt, ManifestInvalid), match=r"bad\.model"):
        open_bytes(content)


@pytest.mark.parametrize("make", [zip_bytes, lambda f: zip_bytes(f, method=zipfile.ZIP_DEFLATED), tar_bytes])
def test_an_archive_cut_short_anywhere_is_refused(open_bytes: Opener, make: Callable[..., bytes]) -> None:
    content = make(SMALL)
    for length in range(0, len(content), 7):
        with pytest.raises((ArchiveCorrupt, ManifestInvalid)):
            open_bytes(content[:length])


@pytest.mark.parametrize("make", [zip_bytes, lambda f: zip_bytes(f, method=zipfile.ZIP_DEFLATED), tar_bytes])
def test_a_garbled_archive_never_gives_anything_but_an_archive_error(
    open_bytes: Opener, make: Callable[..., bytes]
) -> None:
    content, seeded = make(SMALL), random.Random(7)
    refused = 0
    for position in range(0, len(content), 3):
        garbled = bytearray(content)
        garbled[position] ^= seeded.randrange(1, 256)
        try:
            archive = open_bytes(bytes(garbled))
        except ArchiveError:
            refused += 1
        else:  # a byte that says nothing, such as a time: what was packed must have come out, if under other names
            assert len(archive.members) == len(SMALL)
    assert refused > len(content) / 3 / 2


def test_a_garbled_tar_inside_sound_gzip_never_gives_anything_but_an_archive_error(open_bytes: Opener) -> None:
    whole = gzip.decompress(tar_bytes({"MANIFEST.json": FILES_0_4["MANIFEST.json"], "a" * 120: b"x"}))
    content, seeded = whole[: 512 * 6], random.Random(11)
    for position in range(0, len(content), 7):
        garbled = bytearray(content)
        garbled[position] ^= seeded.randrange(1, 256)
        with suppress(ArchiveError):
            open_bytes(gzip.compress(garbled, 0))


def test_a_tar_cut_short_inside_sound_gzip_is_refused(open_bytes: Opener) -> None:
    whole = gzip.decompress(tar_bytes(FILES_0_4))
    for length in (100, 512, 700, len(whole) // 2):
        with pytest.raises((ArchiveCorrupt, ManifestInvalid)):
            open_bytes(gzip.compress(whole[:length], 1))


def test_what_tarfile_itself_trips_over_is_an_archive_error(open_bytes: Opener) -> None:
    garbled = tarfile.TarInfo("garbled")
    garbled.pax_headers = {"GNU.sparse.map": "one,two"}
    with pytest.raises(ArchiveError):
        open_bytes(tar_bytes(FILES_0_4, extra=(garbled,)))
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 1
    nested = (header.tobuf(tarfile.GNU_FORMAT) + b"x".ljust(512, b"\0")) * 3000
    with pytest.raises(ArchiveError):
        open_bytes(gzip.compress(nested, 1))


def test_a_sparse_member_is_refused(open_bytes: Opener) -> None:
    sparse = tarfile.TarInfo("sparse")
    sparse.type = tarfile.GNUTYPE_SPARSE
    with pytest.raises(ArchiveRejected, match="'sparse' is a sparse file"):
        open_bytes(tar_bytes(FILES_0_4, extra=(sparse,)))


def test_a_closed_archive_holds_nothing_any_more(open_bytes: Opener) -> None:
    archive = open_bytes(zip_bytes(SMALL))
    archive.close()
    archive.close()
    with pytest.raises(ArchiveCorrupt, match="no member"):
        archive.read("MANIFEST.json")


def test_a_garbled_zip_that_opens_still_holds_what_was_packed(tmp_path: Path, cache: Cache) -> None:
    content, path = zip_bytes(SMALL), tmp_path / "bad.model"
    for position in range(0, len(content), 5):
        path.write_bytes(content[:position] + bytes([content[position] ^ 0x20]) + content[position + 1 :])
        try:
            archive = open_archive("bad", parse_location(str(path)), cache=cache)
            held = [archive.read(member) for member in archive.members]
        except ArchiveError:
            continue
        assert sorted(held) == sorted(SMALL.values())


def test_a_wrong_checksum_in_the_location_is_refused_with_both_digests(open_bytes: Opener) -> None:
    with pytest.raises(ArchiveRejected, match=r"its sha256 is .* not the 0000"):
        open_bytes(zip_bytes(SMALL), fragment="#sha256=" + "0" * 64)


def test_a_location_that_holds_nothing_is_not_found(tmp_path: Path, cache: Cache) -> None:
    for text in ("nowhere.model", "bad.model/inside"):
        with pytest.raises(ArchiveNotFound, match=text):
            open_archive("bad", parse_location(f"{tmp_path}/{text}"), cache=cache)


def test_a_member_that_is_not_there_is_named_with_those_that_are(open_bytes: Opener) -> None:
    archive = open_bytes(zip_bytes(SMALL))
    with pytest.raises(ArchiveCorrupt, match=r"no member 'x'. It holds: MANIFEST\.json"):
        archive.read("x")


def test_a_folders_link_may_stay_inside_but_not_lead_out(tmp_path: Path, cache: Cache) -> None:
    folder = write_folder(tmp_path / "folder", FILES_0_4)
    (folder / "labels.txt").symlink_to("synset.txt")
    archive = open_archive("bad", parse_location(str(folder)), cache=cache)
    assert archive.read("labels.txt") == FILES_0_4["synset.txt"]
    (folder / "passwd").symlink_to("/etc/passwd")
    with pytest.raises(ArchiveRejected, match="'passwd' is a link that leads out"):
        open_archive("bad", parse_location(str(folder)), cache=cache)


@pytest.mark.parametrize("make", ["pipe", "dangling"])
def test_what_is_no_file_in_a_folder_is_refused(tmp_path: Path, cache: Cache, make: str) -> None:
    folder = write_folder(tmp_path / "folder", FILES_0_4)
    if make == "pipe":
        os.mkfifo(folder / "odd")
    else:
        (folder / "odd").symlink_to("gone")
    with pytest.raises(ArchiveRejected, match="'odd'"):
        open_archive("bad", parse_location(str(folder)), cache=cache)


def test_a_pipe_in_an_archives_place_is_refused_without_waiting(tmp_path: Path, cache: Cache) -> None:
    os.mkfifo(tmp_path / "bad.model")
    with pytest.raises(ArchiveError):
        open_archive("bad", parse_location(str(tmp_path / "bad.model")), cache=cache)
