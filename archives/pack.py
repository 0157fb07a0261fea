"""Make a model archive from a folder: the same folder always gives the same bytes."""

from __future__ import annotations

import fnmatch
import io
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

from gluon_lambda.errors import ArchiveError

MANIFEST_0_4 = "MANIFEST.json"
MANIFEST_1_X = "MAR-INF/MANIFEST.json"
SUFFIXES = (".model", ".mar")

# The oldest time that a zip can hold: a file's own time would make every archive different.
FIXED_TIME = (1980, 1, 1, 0, 0, 0)
FILE_MODE = 0o100644

# What MMS's model-archiver leaves out (model_packaging_utils.py), and other archives, so that
# `pack . gluon.model` inside the folder does not swallow the archive of the day before.
LEFT_OUT_FOLDERS = (".*", "__MACOSX", "__pycache__")
LEFT_OUT_FILES = (".*", "*.pyc", "*.mar", "*.model")


# A member's content: a file to copy, or the bytes themselves.
Content = Path | bytes


class PackError(ArchiveError):
    """Raised when a folder cannot become an archive; names folder, file and the way out."""


def pack_folder(folder: Path, target: Path, added: Mapping[str, Content] = MappingProxyType({})) -> Path:
    """Pack ``folder``, which holds its manifest already, as ``target``.

    A ``.model`` is a flat zip whose members are stored (MMS 0.4); in a ``.mar`` everything is deflated (MMS 1.x) but
    the parameters, which hardly shrink and can be mapped into memory straight from the archive when they are stored.
    The archive's bytes depend on names and contents alone.

    Args:
        folder: Holds ``MANIFEST.json`` (for ``.model``) or ``MAR-INF/MANIFEST.json`` (for ``.mar``).
        target: Where to write, ``NAME.model`` or ``NAME.mar``; an older file is replaced, at once and only on success.
        added: Members that are not in the folder, or not as they shall be: a manifest that was made for it.

    Returns:
        ``target``.

    Raises:
        PackError: No such folder, no manifest of the kind that the suffix asks for, a link to a folder, or two files
            that a flat archive cannot tell apart.
    """
    manifest, other = manifests_of(target)
    if not folder.is_dir():
        what = "is a file" if folder.is_file() else "no such folder"
        raise PackError(f"{folder}: {what}. Name the folder that holds the model's files (an exported net's too).")
    found: dict[str, Content] = {name: path for name, path in files_of(folder) if name != other}
    files = dict(sorted({**found, **added}.items()))
    if manifest not in files:
        raise PackError(missing_manifest(folder, target, other=other))
    if target.suffix == ".model":
        refuse_collisions(folder, files)
    write_atomically(target, files)
    return target


def manifests_of(target: Path) -> tuple[str, str]:
    """The manifest's member name that ``target``'s suffix asks for, and the other form's."""
    if target.suffix == ".model":
        return MANIFEST_0_4, MANIFEST_1_X
    if target.suffix == ".mar":
        return MANIFEST_1_X, MANIFEST_0_4
    raise PackError(f"{target}: an archive is called NAME.model (MMS 0.4) or NAME.mar (MMS 1.x).")


def missing_manifest(folder: Path, target: Path, *, other: str) -> str:
    """Say which manifest ``folder`` lacks and what to do."""
    wanted, _ = manifests_of(target)
    advice = "Have it written with --model-name"
    if (folder / other).is_file():
        advice = f"There is {other}: name the archive {target.stem}{'.mar' if target.suffix == '.model' else '.model'}"
    return f"{folder}: a {target.suffix} archive needs {wanted}, which is not there. {advice}, or write it by hand."


def files_of(folder: Path) -> Iterator[tuple[str, Path]]:
    """Member name and path of every file below ``folder`` that belongs into an archive, sorted by name."""
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not matches_any(name, LEFT_OUT_FOLDERS)]
        refuse_linked_folders(Path(parent), folders)
        found += [Path(parent, name) for name in names if not matches_any(name, LEFT_OUT_FILES)]
    refuse_what_is_no_file(found)
    yield from sorted((path.relative_to(folder).as_posix(), path) for path in found)


def matches_any(name: str, patterns: Iterable[str]) -> bool:
    """Whether ``name`` fits one of the shell ``patterns``."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def refuse_linked_folders(parent: Path, names: Iterable[str]) -> None:
    """Refuse a link to a folder: its files would silently be missing. A link to a file is packed as the file."""
    for name in names:
        if (parent / name).is_symlink():
            raise PackError(f"{parent / name}: a link to a folder is not followed. Copy the folder in its place.")


def refuse_what_is_no_file(paths: Iterable[Path]) -> None:
    """Refuse broken links, and pipes and devices, which would be read without end."""
    for path in paths:
        if not path.is_file():
            raise PackError(f"{path}: no file, or a link that leads to none. Remove it, or copy the file in its place.")


def refuse_collisions(folder: Path, files: Iterable[str]) -> None:
    """Refuse two files of one base name: MMS 0.4 extracts every member into one flat folder."""
    seen: dict[str, str] = {}
    for name in files:
        first = seen.setdefault(name.rpartition("/")[2].lower(), name)
        if first != name:
            raise PackError(
                f"{folder}: {first} and {name} become one file, since a .model archive is flat. "
                "Rename one of them, or pack as .mar, which keeps folders."
            )


def write_atomically(target: Path, files: Mapping[str, Content]) -> None:
    """Write the zip beside ``target`` and move it there when it is whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    with ExitStack() as on_failure:
        on_failure.callback(os.unlink, name)
        with os.fdopen(handle, "wb") as stream, zipfile.ZipFile(stream, "w") as archive:
            for member, content in files.items():
                add_member(archive, member, content, deflate=target.suffix == ".mar")
        os.chmod(name, 0o644)
        os.replace(name, target)
        on_failure.pop_all()


def add_member(archive: zipfile.ZipFile, member: str, content: Content, *, deflate: bool) -> None:
    """Add one member with fixed time, mode and system, so that only its name and bytes count."""
    info = zipfile.ZipInfo(member, FIXED_TIME)
    info.create_system = 3
    info.external_attr = FILE_MODE << 16
    stored = not deflate or member.endswith(".params")
    info.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
    info.file_size = len(content) if isinstance(content, bytes) else content.stat().st_size
    with open_content(content) as source, archive.open(info, "w") as sink:
        shutil.copyfileobj(source, sink, 1 << 20)


def open_content(content: Content) -> BinaryIO:
    """A member's content to read from."""
    return io.BytesIO(content) if isinstance(content, bytes) else content.open("rb")
