"""Makes a folder and its zip the same bytes whenever and wherever they are made."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

# Zip's first moment; time stamps count from there.
_EPOCH = (1980, 1, 1, 0, 0, 0)
_EPOCH_SECONDS = 315532800
# Lambda runs the function as a user of its own: everybody may read.
_FILE_MODE, _FOLDER_MODE = 0o644, 0o755


def files(folder: Path) -> list[Path]:
    """All files below the folder, sorted by their path."""
    return sorted(
        (path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.relative_to(folder).as_posix()
    )


def settle(folder: Path) -> None:
    """Give everything below the folder the same time stamp and permissions: whoever packs it next packs the same."""
    for path in [*folder.rglob("*"), folder]:
        path.chmod(_FOLDER_MODE if path.is_dir() else _FILE_MODE)
        os.utime(path, (_EPOCH_SECONDS, _EPOCH_SECONDS))


def pack(folder: Path, archive: Path) -> None:
    """Write the folder's files into a zip, sorted and without traces of time or machine."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for entry, path in _entries(folder):
            packed.writestr(entry, path.read_bytes(), compresslevel=9)


def _entries(folder: Path) -> Iterator[tuple[zipfile.ZipInfo, Path]]:
    for path in files(folder):
        entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), _EPOCH)
        entry.compress_type = zipfile.ZIP_DEFLATED
        entry.create_system = 3  # Unix: the permissions count
        entry.external_attr = (0o100000 | _FILE_MODE) << 16
        yield entry, path
