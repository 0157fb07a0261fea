"""The cache folder: entries appear whole or not at all, whoever crashes or runs beside, and leave when room is short."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from gluon_lambda.archive_store.archive import open_archive
from gluon_lambda.archive_store.cache import (
    ARCHIVES,
    INCOMING,
    RESERVE_BYTES,
    TREES,
    Cache,
    Lease,
    add_file,
    add_tree,
    discard,
    lease,
    memory_room,
    open_cache,
)
from gluon_lambda.archive_store.location import parse_location
from gluon_lambda.errors import ArchiveRejected, ConfigurationError
from tests.archive_samples import FILES_0_4, zip_bytes

ROOT = Path(__file__).parents[2]


def writer(content: bytes, name: str) -> Callable[[int], str]:
    def write(sink: int) -> str:
        os.write(sink, content)
        return name

    return write


def entries(cache: Cache, kind: str) -> list[str]:
    return sorted(os.listdir(os.path.join(cache.folder, kind)))


def add(cache: Cache, name: str, size: int = 1000) -> Lease:
    return add_file(cache, size, writer(b"x" * size, name), where="a")


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return open_cache(str(tmp_path / "cache"))


def test_an_entry_that_was_added_is_found_and_whole(cache: Cache) -> None:
    with_lease = add(cache, "one")
    assert Path(with_lease.path).read_bytes() == b"x" * 1000
    found = lease(cache, ARCHIVES, "one")
    assert found is not None
    assert found.path == with_lease.path
    assert lease(cache, ARCHIVES, "two") is None


def test_a_failed_write_leaves_nothing_behind(cache: Cache) -> None:
    def fail(target: str) -> None:
        Path(target, "half").write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        add_tree(cache, "one", 10, fail, where="a")
    assert entries(cache, TREES) == entries(cache, INCOMING) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up_while_writing_is_named(cache: Cache, code: int) -> None:
    def fail(_: str) -> None:
        raise OSError(code, os.strerror(code))

    with pytest.raises(ArchiveRejected, match=r"a: the disk of GLUON_CACHE_DIR=.* is full"):
        add_tree(cache, "one", 10, fail, where="a")
    assert entries(cache, INCOMING) == []


def test_a_cache_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="GLUON_CACHE_DIR"):
        add(open_cache(str(tmp_path / "file" / "cache")), "one")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_another_users_folder_is_refused_since_what_lies_in_it_is_run_as_code(cache: Cache) -> None:
    os.mkdir(cache.folder)
    os.chown(cache.folder, 12345, 12345)
    with pytest.raises(ConfigurationError, match="another user's"):
        add(cache, "one")


class Disk:
    """A disk of a given size, holding what lies in a cache."""

    def __init__(self, size: int) -> None:
        self.size = size

    def free_bytes(self, folder: str) -> int:
        return self.size - sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())


@pytest.fixture
def small(tmp_path: Path) -> Cache:
    return Cache(str(tmp_path / "cache"), Disk(RESERVE_BYTES + 3500).free_bytes, lambda: 0)


def test_the_least_recently_used_entry_makes_room(small: Cache) -> None:
    for age, name in enumerate(["one", "two", "three"]):
        made = add(small, name)
        made.close()
        os.utime(made.path, (age, age))
    used = lease(small, ARCHIVES, "one")
    assert used is not None
    used.close()
    add(small, "four")
    assert entries(small, ARCHIVES) == ["four", "one", "three"]
    assert entries(small, INCOMING) == []


def test_an_entry_in_use_is_never_removed(small: Cache) -> None:
    held = [add(small, name) for name in ("one", "two", "three")]
    with pytest.raises(ArchiveRejected, match=r"a: it needs .* bytes in GLUON_CACHE_DIR=.*EphemeralStorage"):
        add(small, "four")
    held[1].close()
    add(small, "four")
    assert entries(small, ARCHIVES) == ["four", "one", "three"]


def test_what_no_disk_has_room_for_lies_in_memory_where_that_has_plenty(small: Cache) -> None:
    roomy = small._replace(free_memory=lambda: 3 * 5000)
    kept = add(roomy, "large", 5000)
    assert Path(kept.path).read_bytes() == b"x" * 5000
    assert entries(small, ARCHIVES) == entries(small, INCOMING) == []
    descriptor = kept.descriptor
    discard(roomy, kept)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
    with pytest.raises(ArchiveRejected, match="EphemeralStorage"):
        add(roomy._replace(free_memory=lambda: 3 * 5000 - 1), "large", 5000)


def test_what_cannot_be_written_to_memory_leaves_nothing_there(small: Cache) -> None:
    def fail(_: int) -> str:
        raise KeyError

    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(KeyError):
        add_file(small._replace(free_memory=lambda: 1 << 30), 5000, fail, where="a")
    assert set(os.listdir("/proc/self/fd")) == before


def test_memory_that_is_free_is_what_the_kernel_says() -> None:
    assert 1 << 20 < memory_room() < 1 << 50


def test_a_tree_makes_room_as_well(small: Cache) -> None:
    add_tree(small, "tree", 2000, lambda target: fill(target, 2000), where="a").close()
    add(small, "two", 3000)
    assert entries(small, TREES) == []
    assert entries(small, ARCHIVES) == ["two"]


def fill(target: str, size: int) -> None:
    os.mkdir(os.path.join(target, "deep"))
    Path(target, "deep", "file").write_bytes(b"x" * size)


def test_a_discarded_entry_stays_while_somebody_else_uses_it(cache: Cache) -> None:
    mine, theirs = add(cache, "one"), lease(cache, ARCHIVES, "one")
    assert theirs is not None
    discard(cache, mine)
    assert entries(cache, ARCHIVES) == ["one"]
    discard(cache, theirs)
    assert entries(cache, ARCHIVES) == []


def test_the_second_of_two_who_unpack_the_same_takes_the_firsts_tree(cache: Cache) -> None:
    def while_somebody_is_faster(target: str) -> None:
        add_tree(cache, "tree", 10, lambda first: fill(first, 10), where="a").close()
        fill(target, 10)

    tree = add_tree(cache, "tree", 10, while_somebody_is_faster, where="a")
    assert Path(tree.path, "deep", "file").read_bytes() == b"x" * 10
    assert entries(cache, INCOMING) == []


def run_python(code: str, *arguments: str) -> subprocess.Popen[bytes]:
    """A Python process of its own that can import the handler."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'handler'}:{ROOT}"}
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *arguments], env=environment, stdout=subprocess.PIPE
    )


WRITE_AND_HANG = """
    import sys, time
    from gluon_lambda.archive_store.cache import add_file, add_tree, open_cache
    cache = open_cache(sys.argv[1])
    def half(target):
        open(f"{target}/MANIFEST.json", "w").write("half")
        print("writing", flush=True)
        time.sleep(60)
    add_tree(cache, sys.argv[2], 100, half, where="a")
"""


def test_a_process_killed_while_unpacking_leaves_nothing_that_is_ever_read(tmp_path: Path, cache: Cache) -> None:
    path = tmp_path / "digits.model"
    path.write_bytes(zip_bytes(FILES_0_4))
    archive = open_archive("digits", parse_location(str(path)), cache=cache)
    killed = run_python(WRITE_AND_HANG, cache.folder, archive.digest)
    assert killed.stdout is not None
    assert killed.stdout.readline() == b"writing\n"
    assert len(entries(cache, INCOMING)) == 1
    add(cache, "other").close()
    assert len(entries(cache, INCOMING)) == 1, "what a living process writes is left alone"

    killed.send_signal(signal.SIGKILL)
    killed.wait()
    killed.stdout.close()
    assert len(entries(cache, INCOMING)) == 1
    assert Path(archive.folder(), "MANIFEST.json").read_bytes() == FILES_0_4["MANIFEST.json"]
    assert entries(cache, INCOMING) == [], "what a dead one left is swept"


OPEN_AND_CHECK = """
    import sys
    from pathlib import Path
    from gluon_lambda.archive_store.archive import open_archive
    from gluon_lambda.archive_store.cache import open_cache
    from gluon_lambda.archive_store.location import parse_location
    archive = open_archive("digits", parse_location(sys.argv[2]), cache=open_cache(sys.argv[1]))
    folder = Path(archive.folder())
    assert all((folder / member).read_bytes() == archive.read(member) for member in archive.members)
    print(len(archive.members), flush=True)
"""


def test_processes_that_unpack_the_same_archive_at_once_all_find_it_whole(tmp_path: Path, cache: Cache) -> None:
    path = tmp_path / "digits.model"
    path.write_bytes(zip_bytes(FILES_0_4))
    processes = [run_python(OPEN_AND_CHECK, cache.folder, str(path)) for _ in "1234"]
    answers = [process.communicate()[0] for process in processes]
    assert answers == [b"5\n"] * 4
    assert len(entries(cache, TREES)) == 1
    assert entries(cache, INCOMING) == []


@pytest.mark.parametrize("replace", [Path.write_bytes, lambda path, content: write_beside_and_rename(path, content)])
def test_an_archive_that_changed_in_its_place_is_unpacked_anew(
    tmp_path: Path, cache: Cache, replace: Callable[[Path, bytes], object]
) -> None:
    """Nobody hashes it: what names its tree is the state that the file system says it is in."""
    path, found = tmp_path / "digits.model", []
    for content in (b"old", b"new"):
        replace(path, zip_bytes({**FILES_0_4, "marker.txt": content}))
        archive = open_archive("digits", parse_location(str(path)), cache=cache)
        found.append((Path(archive.folder()) / "marker.txt").read_bytes())
        archive.close()
    assert found == [b"old", b"new"]


def write_beside_and_rename(path: Path, content: bytes) -> None:
    path.with_suffix(".new").write_bytes(content)
    path.with_suffix(".new").rename(path)


def test_an_entry_that_another_process_uses_is_not_removed(small: Cache) -> None:
    add(small, "one", 3000).close()
    holder = run_python(
        """
        import sys, time
        from gluon_lambda.archive_store.cache import lease, open_cache
        held = lease(open_cache(sys.argv[1]), "archives", "one")
        print(bool(held), flush=True)
        time.sleep(60)
        """,
        small.folder,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"True\n"
    with pytest.raises(ArchiveRejected, match="needs"):
        add(small, "two", 3000)
    holder.kill()
    holder.communicate()
    add(small, "two", 3000)
    assert entries(small, ARCHIVES) == ["two"]
