"""One suite over every archive format and every place an archive can lie: what is opened must be the same."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from archives.pack import pack_folder
from gluon_lambda.archive_store.archive import Archive, open_archive
from gluon_lambda.archive_store.cache import Cache, open_cache
from gluon_lambda.archive_store.location import parse_location
from gluon_lambda.archive_store.stores import open_store
from gluon_lambda.errors import ArchiveNotFound, StoreUnavailable
from tests.archive_samples import FILES_0_4, FILES_1_X, PARAMETERS, Files, tar_bytes, under, write_folder, zip_bytes

BUCKET = "models-bucket"


def as_file(make: Callable[[], bytes]) -> Callable[[Path], Path]:
    def write(target: Path) -> Path:
        target.write_bytes(make())
        return target

    return write


def packed(files: Files, suffix: str) -> Callable[[Path], Path]:
    def write(target: Path) -> Path:
        made = pack_folder(write_folder(target.with_name("source"), files), target.with_suffix(suffix))
        return made.rename(target)

    return write


FORMATS: dict[str, tuple[Files, Callable[[Path], Path]]] = {
    "model": (FILES_0_4, as_file(lambda: zip_bytes(FILES_0_4))),
    "model-deflated": (FILES_0_4, as_file(lambda: zip_bytes(FILES_0_4, method=zipfile.ZIP_DEFLATED))),
    "model-in-parent-folder": (FILES_0_4, as_file(lambda: zip_bytes(under("digits", FILES_0_4)))),
    "model-in-subfolder": (
        FILES_0_4,
        as_file(lambda: zip_bytes({f"net/{n}" if n != "MANIFEST.json" else n: c for n, c in FILES_0_4.items()})),
    ),
    "model-zipped-on-a-mac": (FILES_0_4, as_file(lambda: zip_bytes({**FILES_0_4, "__MACOSX/._MANIFEST.json": b"\0"}))),
    "model-by-pack": (FILES_0_4, packed(FILES_0_4, ".model")),
    "mar": (FILES_1_X, as_file(lambda: zip_bytes(FILES_1_X, method=zipfile.ZIP_DEFLATED))),
    "mar-by-pack": (FILES_1_X, packed(FILES_1_X, ".mar")),
    "tar.gz": (FILES_1_X, as_file(lambda: tar_bytes(FILES_1_X))),
    "tar.gz-dotted": (FILES_1_X, as_file(lambda: tar_bytes({f"./{n}": c for n, c in FILES_1_X.items()}))),
    "tar.gz-in-parent-folder": (FILES_1_X, as_file(lambda: tar_bytes(under("digits", FILES_1_X)))),
    "tar.gz-0.4": (FILES_0_4, as_file(lambda: tar_bytes(FILES_0_4))),
}
FOLDERS: dict[str, Files] = {"folder-0.4": FILES_0_4, "folder-1.x": FILES_1_X}


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket=BUCKET)
        yield client


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return open_cache(str(tmp_path / "cache"))


@pytest.fixture(params=[*FORMATS, *FOLDERS])
def on_disk(request: pytest.FixtureRequest, tmp_path: Path, cache: Cache) -> Iterator[tuple[Files, Archive]]:
    target = tmp_path / "an archive"
    if request.param in FOLDERS:
        files = FOLDERS[request.param]
        path = write_folder(target, files)
    else:
        files, write = FORMATS[request.param]
        path = write(target)
    archive = open_archive("digits", parse_location(str(path).replace(" ", "%20")), cache=cache)
    yield files, archive
    archive.close()


@pytest.fixture(params=["model", "model-deflated", "mar-by-pack", "tar.gz-in-parent-folder"])
def from_s3(request: pytest.FixtureRequest, tmp_path: Path, cache: Cache, s3: Any) -> Iterator[tuple[Files, Archive]]:
    files, write = FORMATS[request.param]
    s3.upload_file(str(write(tmp_path / "upload")), BUCKET, "live/an archive")
    location = parse_location(f"s3://{BUCKET}/live/an%20archive")
    archive = open_archive("digits", location, cache=cache, make_client=lambda: s3)
    yield files, archive
    archive.close()


def check(files: Files, archive: Archive) -> None:
    assert archive.members == tuple(sorted(files))
    assert {member: archive.read(member) for member in archive.members} == dict(files)
    assert archive.buffer("digits-0007.params") == PARAMETERS
    assert archive.labels == ("zéro", "one", "", "three")
    manifest, signature = archive.manifest, archive.signature
    assert (manifest.symbol, manifest.parameters, manifest.epoch) == ("digits-symbol.json", "digits-0007.params", 7)
    assert manifest.form == ("mms-0.4" if "MANIFEST.json" in files else "mms-1.x")
    assert signature is not None
    assert signature.inputs[0].preprocess == {"color": "L"}
    folder = Path(archive.folder())
    assert folder.is_absolute()
    assert {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} == set(files)
    assert all((folder / name).read_bytes() == content for name, content in files.items())


def test_an_archive_on_disk_says_and_holds_what_was_packed(on_disk: tuple[Files, Archive]) -> None:
    check(*on_disk)


def test_an_archive_on_s3_says_and_holds_what_was_packed(from_s3: tuple[Files, Archive]) -> None:
    check(*from_s3)


def test_the_digest_is_the_archive_files_sha256(tmp_path: Path, cache: Cache) -> None:
    for name in ("model", "tar.gz"):
        path = FORMATS[name][1](tmp_path / name)
        archive = open_archive("digits", parse_location(str(path)), cache=cache)
        assert archive.digest == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_folders_digest_follows_names_and_contents_alone(tmp_path: Path, cache: Cache) -> None:
    def digest(name: str, files: Files) -> str:
        folder = write_folder(tmp_path / name, files)
        return open_archive("digits", parse_location(str(folder)), cache=cache).digest

    first = digest("a", FILES_0_4)
    assert digest("b", dict(reversed(list(FILES_0_4.items())))) == first
    assert digest("c", {**FILES_0_4, "synset.txt": b"other"}) != first
    assert digest("d", {**FILES_0_4, "extra.txt": b""}) != first


def test_a_stored_members_buffer_is_the_archives_own_memory(tmp_path: Path, cache: Cache) -> None:
    path = FORMATS["model"][1](tmp_path / "digits.model")
    archive = open_archive("digits", parse_location(str(path)), cache=cache)
    buffer = archive.buffer("digits-0007.params")
    archive.close()
    assert type(buffer.obj).__name__ == "mmap"
    assert buffer == PARAMETERS, "a buffer in use outlives its archive"
    assert not os.path.exists(cache.folder), "nothing is unpacked for it"


def test_a_mar_by_pack_keeps_its_parameters_stored(tmp_path: Path, cache: Cache) -> None:
    path = FORMATS["mar-by-pack"][1](tmp_path / "digits.mar")
    archive = open_archive("digits", parse_location(str(path)), cache=cache)
    assert type(archive.buffer("digits-0007.params").obj).__name__ == "mmap"
    assert type(archive.buffer("signature.json").obj).__name__ == "bytes"


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, s3: Any) -> Any:
    """A store with the archives one, two, three, four, and things that are none."""
    names = ("one.model", "two.mar", "three.tar.gz", "four.tgz", "readme.txt", "deeper/five.model", "one.tar.gz")
    for name in names:
        path = tmp_path / "store" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(zip_bytes(FILES_0_4) if ".tar" not in name else tar_bytes(FILES_0_4))
        s3.upload_file(str(path), BUCKET, f"store/{name}")
    text = f"s3://{BUCKET}/store" if request.param == "s3" else str(tmp_path / "store")
    return open_store(parse_location(text), make_client=lambda: s3)


def test_a_store_lists_its_archives_by_name(store: Any) -> None:
    assert store.names() == ("four", "one", "three", "two")


@pytest.mark.parametrize(
    ("name", "file"), [("one", "one.model"), ("two", "two.mar"), ("three", "three.tar.gz"), ("four", "four.tgz")]
)
def test_a_store_finds_an_archive_that_opens(store: Any, cache: Cache, s3: Any, name: str, file: str) -> None:
    location = store.find(name)
    assert location.text.endswith(f"/store/{file}")
    archive = open_archive(name, location, cache=cache, make_client=lambda: s3)
    assert archive.manifest.model_name == "digits"


@pytest.mark.parametrize(
    "name", ["", "six", "deeper", "..", "../store/one", "one.model", "readme", "o*", "deeper/five"]
)
def test_a_store_does_not_find_what_is_not_there(store: Any, name: str) -> None:
    with pytest.raises(ArchiveNotFound, match="store"):
        store.find(name)


def test_a_folder_store_serves_plain_folders_after_archives(tmp_path: Path, cache: Cache) -> None:
    write_folder(tmp_path / "plain", FILES_1_X)
    write_folder(tmp_path / "both", FILES_1_X)
    (tmp_path / "both.mar").write_bytes(zip_bytes(FILES_1_X))
    (tmp_path / "no-archive").mkdir()
    store = open_store(parse_location(str(tmp_path)))
    assert store.names() == ("both", "plain")
    assert open_archive("plain", store.find("plain"), cache=cache).folder() == str(tmp_path / "plain")
    assert store.find("both").path == str(tmp_path / "both.mar")


def test_a_folder_store_stays_where_it_was_when_the_working_directory_changes(
    tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path / "plain", FILES_1_X)
    monkeypatch.chdir(tmp_path)
    store = open_store(parse_location("."))
    monkeypatch.chdir("/")
    assert open_archive("plain", store.find("plain"), cache=cache).folder() == str(tmp_path / "plain")


def test_a_store_that_is_not_there_is_told_from_an_archive_that_is_not(tmp_path: Path, s3: Any) -> None:
    with pytest.raises(ArchiveNotFound, match="cannot be listed"):
        open_store(parse_location(str(tmp_path / "nowhere"))).names()
    with pytest.raises(ArchiveNotFound, match="NoSuchBucket"):
        open_store(parse_location("s3://other-bucket/x"), make_client=lambda: s3).find("one")


def test_a_long_listing_comes_in_pages(s3: Any) -> None:
    class TwoAtATime:
        def list_objects_v2(self, **request: Any) -> dict[str, Any]:
            answer: dict[str, Any] = s3.list_objects_v2(MaxKeys=2, **request)
            return answer

        def get_object(self, **request: Any) -> dict[str, Any]:
            raise AssertionError(request)

        def close(self) -> None:
            pass

    for number in range(5):
        s3.put_object(Bucket=BUCKET, Key=f"paged/m{number}.mar", Body=b"")
    assert open_store(parse_location(f"s3://{BUCKET}/paged"), make_client=TwoAtATime).names() == (
        "m0",
        "m1",
        "m2",
        "m3",
        "m4",
    )


def test_a_store_without_permission_names_the_iam_action(s3: Any) -> None:
    from botocore.exceptions import ClientError

    class Denied:
        def list_objects_v2(self, **request: Any) -> dict[str, Any]:
            raise ClientError({"Error": {"Code": "AccessDenied"}}, "ListObjectsV2")

        def get_object(self, **request: Any) -> dict[str, Any]:
            raise AssertionError(request)

        def close(self) -> None:
            pass

    with pytest.raises(StoreUnavailable, match=r"s3:ListBucket on arn:aws:s3:::models-bucket"):
        open_store(parse_location(f"s3://{BUCKET}/p"), make_client=Denied).find("one")
