"""The folders that a build fills. One that a user names may hold other things than what an earlier build has left: then nothing is removed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple


class Made(NamedTuple):
    """What tells a folder that was made here from any other.

    Attributes:
        names: All that may lie in it.
        signs: One of these is there, as soon as anything is.
    """

    names: frozenset[str]
    signs: tuple[str, ...]


LAYER = Made(frozenset({"python", "lib"}), ("python/mxnet", "lib/libgomp.so.1"))
FUNCTION = Made(frozenset({"lambda_function.py", "gluon_lambda", "mms", "__pycache__"}), ("gluon_lambda", "mms"))


def refuse_what_cannot_be_filled(folder: Path, made: Made) -> None:
    """Stop where the folder holds something else, or cannot be written to.

    Args:
        folder: What ``--out`` named. It is made if it is not there, and nothing in it is removed yet.
        made: What it may hold: it goes when the folder is filled.

    Raises:
        SystemExit: Names the folder, and says what to do.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try_to_write(folder)
        there = {path.name for path in folder.iterdir()}
    except OSError as error:
        raise SystemExit(
            f"{folder} cannot be written to ({error.strerror}). Choose a folder that can: --out FOLDER, or make it yours"
        ) from error
    if there and not (there <= made.names and any((folder / sign).exists() for sign in made.signs)):
        named = ", ".join(sorted(there - made.names or there)[:3])
        raise SystemExit(
            f"{folder} holds {named}, which no earlier build has put there. Nothing in it was touched. Name a folder that is new or empty: "
            "--out FOLDER, or empty this one yourself"
        )


def empty(folder: Path) -> None:
    """Make the folder if it is not there, and empty it if it is; the folder itself stays, since another program may have made it.

    Raises:
        SystemExit: It cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        try_to_write(folder)
    except OSError as error:
        raise SystemExit(
            f"{folder} cannot be written to ({error.strerror}). Make it yours, or build in a copy of the repository that is"
        ) from error


def try_to_write(folder: Path) -> None:
    """Raise what the system raises where nothing can be put into the folder."""
    trial = folder / ".writable"
    trial.touch()
    trial.unlink()
