"""Large zips on S3 are fetched straight into their members: the archive must be the same as from disk, and what is wrong with it too."""

from __future__ import annotations

import hashlib
import io
import os
import random
import resource
import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from gluon_lambda.archive_store.archive import Archive, open_archive
from gluon_lambda.archive_store.cache import RESERVE_BYTES, Cache, open_cache
from gluon_lambda.archive_store.fetching import Fetched, LargeFrom, fetch
from gluon_lambda.archive_store.large_members import HEADER_BYTES, TAIL_BYTES
from gluon_lambda.archive_store.location import parse_location
from gluon_lambda.archive_store.members import Limits
from gluon_lambda.archive_store.s3 import S3Client, make_full_client
from gluon_lambda.archive_store.s3_lean import LeanClient
from gluon_lambda.errors import ArchiveCorrupt, ArchiveError, ArchiveRejected, ConfigurationError, StoreUnavailable
from gluon_lambda.pending import begin
from tests.archive_samples import FILES_0_4, FILES_1_X, Files, tar_bytes, under, zip_bytes
from tests.scripted_s3 import CREDENTIALS, Asked, Mishap, ScriptedS3, breaking_off, failing, scripted, well

# In bytes, so that the tests' archives need not be as large as real ones.
LARGE_FROM = LargeFrom(archive=3 << 20, member=1 << 20)
URL = "s3://large-bucket/net.model"
ZEROS = bytes(900_000)
FILES: Files = {
    **FILES_0_4,
    "words.txt": b"a b " * 5000,
    "weights.bin": random.Random(1).randbytes(2_500_000),
    "zeros.bin": ZEROS,
}
NESTED: Files = {**FILES_1_X, "lib/weights.bin": FILES["weights.bin"], "empty.py": b""}
SMALL: Files = {"digits-0007.params": b"weights " * 20}


def mixed_zip(files: Files, *, comment: bytes = b"", zip64: bool = False, stream: io.BytesIO | None = None) -> bytes:
    """A zip whose large members are stored, and the others deflated, as MMS's archivers and ``pack`` write them."""
    stream = stream or io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_STORED if len(content) > 1 << 20 else zipfile.ZIP_DEFLATED
            with archive.open(info, "w", force_zip64=zip64) as sink:
                sink.write(content)
        archive.comment = comment
    return stream.getvalue()


class Unseekable(io.BytesIO):
    """What is written to a pipe: sizes and checksums follow the content."""

    def seekable(self) -> bool:
        return False

    def tell(self) -> int:
        raise OSError

    def seek(self, *_: Any) -> int:
        raise OSError


def begun_by(start: bytes) -> io.BytesIO:
    """A stream in which something stands already."""
    stream = io.BytesIO()
    stream.write(start)
    return stream


ZIP = mixed_zip(FILES)
DIGEST = hashlib.sha256(ZIP).hexdigest()
OTHER_FILES: Files = {**FILES, "synset.txt": b"new", "weights.bin": random.Random(2).randbytes(2_600_000)}
OTHER = mixed_zip(OTHER_FILES)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return open_cache(str(tmp_path / "cache"))


@pytest.fixture
def s3() -> Iterator[ScriptedS3]:
    with scripted(ZIP) as s3:
        yield s3


def lean(s3: ScriptedS3) -> S3Client:
    return LeanClient(s3.settings, lambda: pytest.fail("asked for"), sleep=lambda _: None)


def fetch_from(s3: ScriptedS3, cache: Cache, *, url: str = URL, limits: Limits | None = None) -> Fetched:
    location = parse_location(url)
    return fetch(location, cache=cache, make_client=lambda: lean(s3), limits=limits, large_from=LARGE_FROM)


def open_from(s3: ScriptedS3, cache: Cache, *, url: str = URL, limits: Limits | None = None) -> Archive:
    begun = begin("fetch", lambda: fetch_from(s3, cache, url=url, limits=limits))
    return open_archive("digits", parse_location(url), cache=cache, fetch=begun, limits=limits or Limits())


def entries(cache: Cache) -> list[Path]:
    """What the cache holds."""
    return [path for kind in ("archives", "trees", "incoming") for path in Path(cache.folder, kind).iterdir()]


def is_laid_out(cache: Cache) -> bool:
    (entry,) = entries(cache)
    return entry.is_dir()


def check(files: Files, archive: Archive) -> None:
    assert archive.members == tuple(sorted(files))
    assert {member: archive.read(member) for member in archive.members} == dict(files)
    folder = Path(archive.folder())
    assert folder.is_absolute()
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == set(files)
    assert all((folder / name).read_bytes() == content for name, content in files.items())
    with pytest.raises(ArchiveCorrupt, match="there is no member 'nothing'"):
        archive.buffer("nothing")


# What is opened is the same as from disk.

FORMS: dict[str, tuple[Files, Callable[[], bytes]]] = {
    "mixed": (FILES, lambda: ZIP),
    "all stored": (FILES, lambda: zip_bytes(FILES)),
    "1.x": (NESTED, lambda: mixed_zip(NESTED)),
    "in a parent folder": (NESTED, lambda: mixed_zip(under("digits", NESTED))),
    "from a Mac": (FILES, lambda: mixed_zip({**FILES, "__MACOSX/._x": random.Random(3).randbytes(1_500_000)})),
    "with a comment": (FILES, lambda: mixed_zip(FILES, comment=b"a comment" * 1000)),
    "zip64 members": (FILES, lambda: mixed_zip(FILES, zip64=True)),
    "sizes after the content": (FILES, lambda: mixed_zip(FILES, stream=Unseekable())),
    "zip64 directory": (FILES, lambda: with_zip64_end(ZIP)),
    "hidden folders": (
        {**FILES, ".hidden/a": b"1", "__pycache__/b": b"2"},
        lambda: mixed_zip({**NESTED_HIDDEN, **FILES}),
    ),
}
NESTED_HIDDEN: Files = {".hidden/a": b"1", "__pycache__/b": b"2"}


def with_zip64_end(content: bytes) -> bytes:
    """The same archive, with the end record that one of 4 GiB has."""
    end = content.rfind(b"PK\x05\x06")
    count, size, offset = struct.unpack_from("<HLL", content, end + 10)
    end64 = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, offset)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return content[:end] + end64 + locator + tail


@pytest.mark.parametrize("form", FORMS)
def test_a_large_zip_on_s3_is_laid_out_and_is_the_same_archive(s3: ScriptedS3, cache: Cache, form: str) -> None:
    files, make = FORMS[form]
    content = make()
    s3.replace(content)
    if form == "hidden folders":  # a 0.4 archive is flat
        files = {name.rpartition("/")[2]: each for name, each in files.items()}
    for _ in range(2):  # as fetched, and as found in the cache
        with closing(open_from(s3, cache)) as archive:
            check(files, archive)
            assert archive.digest == hashlib.sha256(content).hexdigest()
            assert is_laid_out(cache)


def test_nothing_large_is_on_disk_twice(s3: ScriptedS3, cache: Cache) -> None:
    with closing(open_from(s3, cache)) as archive:
        archive.folder()
    taken = sum(os.stat(path).st_blocks * 512 for path in Path(cache.folder).rglob("*"))
    assert taken < len(ZIP) + len(ZEROS) + (1 << 18)


def test_a_buffer_in_use_outlives_its_archive(s3: ScriptedS3, cache: Cache) -> None:
    archive = open_from(s3, cache)
    buffer = archive.buffer("weights.bin")
    archive.close()
    assert archive.members == ()
    assert buffer == FILES["weights.bin"]
    assert type(buffer.obj).__name__ == "mmap"


@pytest.fixture(scope="module")
def moto() -> Iterator[tuple[dict[str, str], list[str]]]:
    """AWS's variables for moto's server, and two versions of an archive that it holds."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environ = {**CREDENTIALS, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}
    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "y", "region_name": "eu-west-1"}
    client = boto3.client("s3", endpoint_url=environ["AWS_ENDPOINT_URL"], **keys)
    client.create_bucket(Bucket="large-bucket", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    client.put_bucket_versioning(Bucket="large-bucket", VersioningConfiguration={"Status": "Enabled"})
    yield (
        environ,
        [client.put_object(Bucket="large-bucket", Key="net.model", Body=body)["VersionId"] for body in (ZIP, OTHER)],
    )
    server.stop()


@pytest.mark.parametrize("kind", ["lean", "full"])
def test_both_clients_lay_out_the_version_that_is_asked_for_and_ask_once(
    moto: tuple[dict[str, str], list[str]], cache: Cache, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
) -> None:
    from gluon_lambda.archive_store.s3 import make_s3_client

    environ, versions = moto
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    make = make_full_client if kind == "full" else make_s3_client
    for url, files in ((f"{URL}?versionId={versions[0]}", FILES), (URL, OTHER_FILES)):
        location = parse_location(url)
        fetched = fetch(location, cache=cache, make_client=lambda: make(environ), large_from=LARGE_FROM)
        with closing(open_archive("digits", location, cache=cache, fetch=begin("fetch", lambda: fetched))) as archive:  # noqa: B023
            check(files, archive)
    location = parse_location(f"{URL}?versionId={versions[0]}#sha256={DIGEST}")
    with closing(open_archive("digits", location, cache=cache, make_client=lambda: pytest.fail("asked"))) as archive:
        check(FILES, archive)


# A second start in the same sandbox.


def test_an_unchanged_archive_is_asked_for_and_not_sent_again(s3: ScriptedS3, cache: Cache) -> None:
    open_from(s3, cache).close()
    asked = len(s3.asked)
    with closing(open_from(s3, cache)) as archive:
        check(FILES, archive)
    assert [request.headers.get("if-none-match") for request in s3.asked[asked:]] == ['"1"']


def test_a_changed_archive_is_fetched_again(s3: ScriptedS3, cache: Cache) -> None:
    open_from(s3, cache).close()
    s3.replace(OTHER)
    with closing(open_from(s3, cache)) as archive:
        check(OTHER_FILES, archive)


def test_a_pinned_digest_is_verified_and_then_never_asked_for(s3: ScriptedS3, cache: Cache) -> None:
    for _ in range(2):
        with closing(open_from(s3, cache, url=f"{URL}#sha256={DIGEST}")) as archive:
            check(FILES, archive)
            assert archive.digest == DIGEST
    assert len([request for request in s3.asked if "if-match" not in request.headers]) == 1


def test_what_was_fetched_without_a_digest_is_held_against_one_later(s3: ScriptedS3, cache: Cache) -> None:
    open_from(s3, cache, url=f"{URL}?versionId=1").close()
    asked = len(s3.asked)
    open_from(s3, cache, url=f"{URL}?versionId=1#sha256={DIGEST}").close()
    with pytest.raises(ArchiveRejected, match=f"its sha256 is {DIGEST}"):
        open_from(s3, cache, url=f"{URL}?versionId=1#sha256={'0' * 64}")
    assert len(s3.asked) == asked


def test_an_entry_without_its_files_is_not_served(s3: ScriptedS3, cache: Cache) -> None:
    open_from(s3, cache).close()
    (entry,) = entries(cache)
    os.truncate(entry / "rest", 1000)
    with pytest.raises(ArchiveCorrupt, match="no zip directory"):
        open_from(s3, cache)
    assert entries(cache) == []
    open_from(s3, cache).close()


def test_whoever_fetches_at_the_same_time_finds_one_entry(s3: ScriptedS3, cache: Cache) -> None:
    begun = [begin(f"start-{number}", lambda: open_from(s3, cache)) for number in range(4)]
    for archive in [each.result() for each in begun]:
        check(FILES, archive)
        archive.close()
    assert is_laid_out(cache)


def test_where_a_file_has_the_name_already_that_is_used(s3: ScriptedS3, cache: Cache) -> None:
    location = parse_location(URL)
    whole = fetch(location, cache=cache, make_client=lambda: lean(s3))
    for path in Path(cache.folder, "objects").iterdir():
        path.unlink()
    with closing(open_from(s3, cache)) as archive:
        check(FILES, archive)
    assert Path(whole.lease.path).read_bytes() == ZIP


# What is wrong is told as from disk, and nothing stays.


def disk_error(tmp_path: Path, content: bytes, cache: Cache, limits: Limits) -> ArchiveError:
    """What the same archive on disk is refused with, once it is unpacked."""
    path = tmp_path / "disk.model"
    path.write_bytes(content)
    with pytest.raises(ArchiveError) as raised:
        open_archive("digits", parse_location(str(path)), cache=cache, limits=limits).folder()
    return raised.value


def flipped(content: bytes, at: int) -> bytes:
    changed = bytearray(content)
    changed[at] ^= 1
    return bytes(changed)


def with_directory(content: bytes, name: bytes, offset: int, value: bytes) -> bytes:
    """The zip with a field of a member's central header replaced."""
    at = content.rfind(name) - 46 + offset
    return content[:at] + value + content[at + len(value) :]


def overlapping() -> bytes:
    """An archive one of whose large members lies within another."""
    inner = zip_bytes({"inner.bin": random.Random(5).randbytes(1_200_000)})
    content = mixed_zip({**FILES, "weights.bin": inner + FILES["weights.bin"]})
    directory = inner.rindex(b"PK\x01\x02")
    entry = bytearray(inner[directory : inner.rindex(b"PK\x05\x06")])
    struct.pack_into("<L", entry, 42, content.index(inner))
    end = content.rindex(b"PK\x05\x06")
    count, size, offset = struct.unpack_from("<HLL", content, end + 10)
    fields = (b"PK\x05\x06", 0, 0, count + 1, count + 1, size + len(entry), offset, 0)
    return content[:end] + bytes(entry) + struct.pack("<4s4H2LH", *fields)


BAD: dict[str, Callable[[], bytes]] = {
    "a byte of a large member": lambda: flipped(ZIP, ZIP.index(FILES["weights.bin"]) + 2_000_000),
    "the last byte of a large member": lambda: flipped(ZIP, ZIP.index(FILES["digits-0007.params"]) + 1_199_999),
    "a byte of a small member": lambda: flipped(ZIP, ZIP.index(b"words.txt") + 12),
    "a large member's checksum in the directory": lambda: with_directory(ZIP, b"weights.bin", 16, b"\0\0\0\0"),
    "a large member's local header": lambda: flipped(ZIP, ZIP.index(b"weights.bin")),
    "a large member's offset": lambda: with_directory(ZIP, b"weights.bin", 42, b"\xf0\xff\xff\x7f"),
    "a large member that overlaps another": lambda: overlapping(),
    "the directory": lambda: flipped(ZIP, ZIP.rindex(b"PK\x01\x02")),
    "the end": lambda: ZIP[:-10],
    "something behind the end": lambda: ZIP + b"x",
    "something before the beginning": lambda: b"#!/bin/sh\n" + ZIP,
    "something before the beginning that the directory counts": lambda: mixed_zip(
        FILES, stream=begun_by(b"#!/bin/sh\n")
    ),
    "a link": lambda: with_directory(ZIP, b"weights.bin", 38, struct.pack("<L", 0o120777 << 16)),
    "an unsafe name": lambda: ZIP.replace(b"weights.bin", b"/eights.bin"),
    "an encrypted member": lambda: with_directory(ZIP, b"weights.bin", 8, b"\x01\0"),
    "two of one name": lambda: mixed_zip({**FILES, "lib/weights.bin": FILES["weights.bin"]}),
    "no manifest of use": lambda: mixed_zip({**FILES, "MANIFEST.json": b"[]"}),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_archive_is_refused_as_from_disk_and_does_not_stay(
    s3: ScriptedS3, cache: Cache, tmp_path: Path, name: str
) -> None:
    content = BAD[name]()
    s3.replace(content)
    expected = disk_error(tmp_path, content, open_cache(str(tmp_path / "other")), Limits())
    with pytest.raises(type(expected)) as raised:
        open_from(s3, cache).folder()
    assert str(raised.value) == str(expected).replace(str(tmp_path / "disk.model"), URL)
    # One that cannot be laid out is kept as it came until its code is unpacked, as it is from disk.
    assert [entry for entry in entries(cache) if entry.is_dir() or "incoming" in entry.parts] == []
    s3.replace(ZIP)
    with closing(open_from(s3, cache)) as archive:
        check(FILES, archive)


def test_members_that_share_bytes_get_no_files_of_their_own(s3: ScriptedS3, cache: Cache) -> None:
    s3.replace(BAD["a large member that overlaps another"]())
    assert Path(fetch_from(s3, cache).lease.path).is_file()


@pytest.mark.parametrize("limits", [Limits(total_bytes=4_000_000), Limits(members=3)])
def test_an_archive_over_a_limit_is_refused_when_it_comes_and_when_it_is_found(
    s3: ScriptedS3, cache: Cache, tmp_path: Path, limits: Limits
) -> None:
    expected = disk_error(tmp_path, ZIP, open_cache(str(tmp_path / "other")), limits)
    text = str(expected).replace(str(tmp_path / "disk.model"), URL)
    with pytest.raises(ArchiveRejected) as raised:
        fetch_from(s3, cache, limits=limits)
    assert (str(raised.value), entries(cache)) == (text, [])
    open_from(s3, cache).close()
    with pytest.raises(ArchiveRejected) as raised:
        open_from(s3, cache, limits=limits)
    assert (str(raised.value), entries(cache)) == (text, [])


def test_an_archive_that_is_not_the_pinned_one_is_refused_and_not_kept(s3: ScriptedS3, cache: Cache) -> None:
    with pytest.raises(ArchiveRejected, match=f"its sha256 is {DIGEST}"):
        open_from(s3, cache, url=f"{URL}#sha256={'0' * 64}")
    assert entries(cache) == []


# What happens on the way.


def is_tail(request: Asked) -> bool:
    return request.headers.get("range") == f"bytes={len(ZIP) - TAIL_BYTES}-{len(ZIP) - 1}"


def is_header(request: Asked) -> bool:
    start, last = request.headers.get("range", "bytes=0-0").removeprefix("bytes=").split("-")
    return int(last) - int(start) + 1 == HEADER_BYTES


def is_part(request: Asked) -> bool:
    return "if-match" in request.headers and not is_tail(request) and not is_header(request)


ASKS: dict[str, Callable[[Asked], bool]] = {"tail": is_tail, "header": is_header, "part": is_part}


def once(matches: Callable[[Asked], bool], mishap: Mishap, times: int = 1) -> list[Mishap]:
    """A script in which the first such requests meet with a mishap; all others are answered well."""
    left = [mishap] * times

    def step(connection: Any, s3: ScriptedS3, request: Asked) -> None:
        (left.pop() if left and matches(request) else well)(connection, s3, request)

    return [step] * 200


@pytest.mark.parametrize("ask", ASKS)
@pytest.mark.parametrize("mishap", [breaking_off(5), failing(503, "SlowDown"), failing(500, "InternalError")])
def test_what_passes_is_tried_again(s3: ScriptedS3, cache: Cache, ask: str, mishap: Mishap) -> None:
    s3.script = once(ASKS[ask], mishap)
    with closing(open_from(s3, cache)) as archive:
        check(FILES, archive)
    assert is_laid_out(cache)


@pytest.mark.parametrize("ask", ASKS)
def test_an_archive_that_is_replaced_meanwhile_is_fetched_anew_and_never_mixed(
    s3: ScriptedS3, cache: Cache, ask: str
) -> None:
    def replace(connection: Any, s3: ScriptedS3, request: Asked) -> None:
        s3.replace(OTHER)
        well(connection, s3, request)

    s3.script = once(ASKS[ask], replace)
    with closing(open_from(s3, cache)) as archive:
        check(OTHER_FILES, archive)
    assert is_laid_out(cache)


@pytest.mark.parametrize("ask", ASKS)
@pytest.mark.parametrize(
    ("mishap", "said"),
    [
        (breaking_off(0), "bytes before the body's end"),
        (failing(403, "AccessDenied"), "needs s3:GetObject"),
        (failing(412, "PreconditionFailed"), "was replaced each time"),
    ],
)
def test_what_does_not_pass_is_given_up_with_nothing_left(
    s3: ScriptedS3, cache: Cache, ask: str, mishap: Mishap, said: str
) -> None:
    s3.script = once(ASKS[ask], mishap, 150)
    with pytest.raises(StoreUnavailable, match=said):
        open_from(s3, cache)
    assert not os.path.exists(cache.folder) or entries(cache) == []


# What is not laid out.


def deflated() -> bytes:
    noise = random.Random(4).randbytes(3_500_000)
    return zip_bytes({**FILES_0_4, "noise.bin": noise}, method=zipfile.ZIP_DEFLATED)


PLAIN: dict[str, Callable[[], bytes]] = {
    "a tar.gz": lambda: tar_bytes(FILES),
    "deflated members alone": deflated,
    "small members alone": lambda: zip_bytes({**FILES_0_4, **SMALL, **{f"{n}.bin": bytes(1000_000) for n in range(4)}}),
    "a small archive": lambda: zip_bytes(FILES_0_4),
    "a directory that is longer than what is asked for": lambda: zip_bytes(
        {**FILES, **{f"{number:0200}.txt": b"" for number in range(1200)}}
    ),
}


@pytest.mark.parametrize("name", PLAIN)
def test_everything_else_comes_as_one_file(s3: ScriptedS3, cache: Cache, name: str) -> None:
    content = PLAIN[name]()
    s3.replace(content)
    fetched = fetch_from(s3, cache)
    assert Path(fetched.lease.path).read_bytes() == content
    with closing(open_archive("digits", parse_location(URL), cache=cache, fetch=begin("f", lambda: fetched))) as opened:
        assert opened.read("synset.txt") == FILES_0_4["synset.txt"]
        assert opened.digest == hashlib.sha256(content).hexdigest()


def test_a_server_that_knows_no_ranges_sends_one_file(s3: ScriptedS3, cache: Cache) -> None:
    def whole(connection: Any, s3: ScriptedS3, request: Asked) -> None:
        connection.sendall(s3.answer(request._replace(headers={})))

    s3.script = [whole] * 20
    assert Path(fetch_from(s3, cache).lease.path).read_bytes() == ZIP
    assert len(s3.asked) == 1


def test_an_archive_that_the_disk_has_no_room_for_is_served_from_memory(s3: ScriptedS3, cache: Cache) -> None:
    full = cache._replace(free_bytes=lambda _: 0, free_memory=lambda: 1 << 30)
    with closing(open_from(s3, full)) as archive:
        assert archive.read("weights.bin") == FILES["weights.bin"]
    assert entries(full) == []
    with pytest.raises(ArchiveRejected, match="EphemeralStorage"):
        open_from(s3, full._replace(free_memory=lambda: 0))
    assert entries(full) == []


def test_where_there_is_room_for_the_archive_but_not_for_what_it_unpacks_to_it_comes_as_one_file(
    s3: ScriptedS3, cache: Cache
) -> None:
    tight = cache._replace(free_bytes=lambda _: len(ZIP) + RESERVE_BYTES + len(ZEROS) // 2)
    with closing(open_from(s3, tight)) as archive:
        assert archive.read("zeros.bin") == ZEROS
    assert not is_laid_out(tight)


def test_a_disk_that_refuses_what_comes_is_named_and_left_clean(s3: ScriptedS3, cache: Cache) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill_disk(connection: Any, s3: ScriptedS3, request: Asked) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, before[1]))  # no file may be larger than this
        well(connection, s3, request)

    s3.script = once(is_header, fill_disk, 2)
    try:
        with pytest.raises(ConfigurationError, match=rf"GLUON_CACHE_DIR=.* cannot be used for {URL}: File too large"):
            open_from(s3, cache)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert entries(cache) == []
