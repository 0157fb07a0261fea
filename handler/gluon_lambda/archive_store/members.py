"""Names and sizes of an archive's members: nothing that an archive says of itself is trusted."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable
from typing import NamedTuple

from gluon_lambda.archive_store.manifest import FORM_0_4, MANIFEST_0_4, MANIFEST_1_X, manifest_form
from gluon_lambda.errors import ArchiveRejected

# A component's limit on every file system in use; a longer name could be packed but never unpacked.
NAME_BYTES = 255
PATH_BYTES = 1024

DRIVE = re.compile(r"[A-Za-z]:")
CONTROL = re.compile(r"[\x00-\x1f\x7f]")

# What macOS's Finder adds to a zip beside the user's files.
FINDER_FOLDER = "__MACOSX"


class Limits(NamedTuple):
    """How large an archive may grow.

    Attributes:
        total_bytes: All members together, unpacked.
        members: How many files.
        ratio: Unpacked to packed size, all members together.
        ratio_from_bytes: Unpacked size up to which any ratio goes, since zero-filled parameters compress a thousandfold.
    """

    total_bytes: int = 4 << 30
    members: int = 20_000
    ratio: int = 200
    ratio_from_bytes: int = 64 << 20


def check_name(name: str, *, where: str) -> None:
    """Refuse a member's name that could lead out of the folder that it is unpacked to.

    Raises:
        ArchiveRejected: Names archive and member.
    """
    reason = unsafe(name)
    if reason:
        raise ArchiveRejected(
            f"{where}: the member {name!r} {reason}. Pack the archive anew from inside its folder, with relative names."
        )


def unsafe(name: str) -> str:
    """Why ``name`` is not trusted, or ``""``."""
    parts = name.removesuffix("/").split("/")
    reasons = (
        (name.startswith("/"), "is an absolute path"),
        (bool(DRIVE.match(name)), "starts with a drive letter"),
        ("\\" in name, "has a backslash in its name"),
        (bool(CONTROL.search(name)), "has a control character in its name"),
        (any(part in ("", ".", "..") for part in parts), "has an empty, . or .. part in its name"),
        (not is_utf8(name), "has a name that is no UTF-8"),
        (is_too_long(name), "has too long a name"),
    )
    return next((reason for is_so, reason in reasons if is_so), "")


def is_utf8(name: str) -> bool:
    """Whether ``name`` can be shown: tarfile turns bytes that are no UTF-8 into lone surrogates."""
    return not any("\ud800" <= sign <= "\udfff" for sign in name)


def is_too_long(name: str) -> bool:
    """Whether a file system would refuse ``name``."""
    encoded = name.encode("utf-8", "replace")
    return len(encoded) > PATH_BYTES or any(len(part) > NAME_BYTES for part in encoded.split(b"/"))


def check_mode(mode: int, name: str, *, where: str) -> None:
    """Refuse links, devices, pipes and sockets by their Unix mode; 0 means that none was recorded.

    Raises:
        ArchiveRejected: Names archive and member.
    """
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise ArchiveRejected(f"{where}: the member {name!r} is a link or a device. Pack the file itself in its place.")


def check_sizes(total: int, packed: int, *, where: str, limits: Limits) -> None:
    """Refuse what would fill disk or memory.

    Args:
        total: Bytes of all members, unpacked.
        packed: Bytes of the archive.
        where: The archive, for errors.
        limits: What is accepted.

    Raises:
        ArchiveRejected: Names size and limit.
    """
    if total > limits.total_bytes:
        raise ArchiveRejected(
            f"{where}: it unpacks to {total:,} bytes or more, over the limit of {limits.total_bytes:,}. "
            "Leave out what serving does not need, or raise GLUON_MAX_ARCHIVE_BYTES."
        )
    if total > limits.ratio_from_bytes and total > limits.ratio * packed:
        raise ArchiveRejected(
            f"{where}: {packed:,} bytes unpack to {total:,} or more, over {limits.ratio} times, as zip bombs do. "
            "If it is genuine, pack the archive with stored members (zip -0)."
        )


def check_count(count: int, *, where: str, limits: Limits) -> None:
    """Refuse more files than ``limits`` allows.

    Raises:
        ArchiveRejected: Names count and limit.
    """
    if count > limits.members:
        raise ArchiveRejected(f"{where}: it holds over {limits.members:,} files. Leave out what serving does not need.")


def logical_names(stored: Iterable[str], *, where: str) -> dict[str, str]:
    """Under which name each file of an archive is known.

    A folder that holds everything is taken off (MMS 1.x's tgz, and archives of MMS 0.1). A 0.4 archive is flat: MMS
    extracted each member under its base name alone. There the last of two same-named members won; here both are refused.

    Args:
        stored: The files' names as the archive has them, folders left out.
        where: The archive, for errors.

    Returns:
        The stored name by the name it is known under, sorted.

    Raises:
        ArchiveRejected: Two files come to the same name, or to names that differ in case alone.
    """
    names = [name for name in stored if not is_finders(name)]
    root = common_root(names)
    known = [(name[len(root) :], name) for name in names]
    if manifest_form(tuple(name for name, _ in known)) == FORM_0_4:
        known = [(name.rpartition("/")[2], original) for name, original in known]
    refuse_collisions(known, where=where)
    return dict(sorted(known))


def is_finders(name: str) -> bool:
    """Whether macOS put the file there: ``__MACOSX/…`` in a zip, ``._NAME`` in a tar."""
    return name.startswith(f"{FINDER_FOLDER}/") or name.rpartition("/")[2].startswith("._")


def common_root(names: list[str]) -> str:
    """The folder (with its ``/``) that holds everything, or ``""``; one that holds no manifest is part of the model."""
    root, slash, _ = names[0].partition("/") if names else ("", "", "")
    prefix = root + slash
    if not slash or not all(name.startswith(prefix) for name in names) or MANIFEST_1_X in names:
        return ""
    has_manifest = any(prefix + manifest in names for manifest in (MANIFEST_0_4, MANIFEST_1_X))
    has_net = any(name.endswith("-symbol.json") and name.count("/") == 1 for name in names)
    return prefix if has_manifest or has_net else ""


def refuse_collisions(known: list[tuple[str, str]], *, where: str) -> None:
    """Refuse two files that a folder could not hold side by side, here or where case does not count."""
    seen: dict[str, str] = {}
    for name, stored in known:
        key = name.casefold()
        if key in seen:
            raise ArchiveRejected(
                f"{where}: {seen[key]!r} and {stored!r} come to the same file {name!r} "
                "(a 0.4 archive is flat, and case does not count). Rename one of them."
            )
        seen[key] = stored
    for key in seen:
        refuse_file_as_folder(key, seen, where=where)


def refuse_file_as_folder(name: str, seen: dict[str, str], *, where: str) -> None:
    """Refuse a file that lies in what is itself a file."""
    parts = name.split("/")
    for depth in range(1, len(parts)):
        parent = "/".join(parts[:depth])
        if parent in seen:
            raise ArchiveRejected(
                f"{where}: {seen[parent]!r} is a file, and {seen[name]!r} lies in it. Rename one of them."
            )
