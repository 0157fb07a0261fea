"""Whether every shared library of a layer and a function finds what it asks for, in them or in Lambda's image."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from layers import elf, packing
from layers.images import Image

_VERSION = re.compile(r"([A-Z]+)_([0-9.]+)")


class Place(NamedTuple):
    """Where libraries are loaded.

    Attributes:
        image: Lambda's.
        lib: The layer's ``lib``, which Lambda has on LD_LIBRARY_PATH as /opt/lib.
    """

    image: Image
    lib: Path


def open_ends(folders: Iterable[Path], place: Place) -> list[str]:
    """What is missing, one sentence each.

    Args:
        folders: Function and layer.
        place: Where they are loaded.
    """
    paths = [
        path
        for folder in folders
        for path in packing.files(folder.resolve())
        if ".so" in path.name and elf.is_elf(path)
    ]
    asked = {path: elf.demands(path) for path in paths}
    needed = {name for each in asked.values() for name in each.needed}
    # Python and ctypes open those that no other one needs; from there on, folders to look in are handed down.
    return sorted({said for path in paths if path.name not in needed for said in _walk(path, asked, place, ())})


def _walk(path: Path, asked: dict[Path, elf.Demands], place: Place, handed_down: tuple[Path, ...]) -> Iterator[str]:
    """What this library and those that it loads miss."""
    demands = asked[path]
    handed_down = (*_folders(demands.rpath, path), *handed_down)
    order = search_order(path, demands, place, handed_down)
    brought = {
        name: found
        for name in demands.needed
        if (found := next((each for folder in order if (each := (folder / name).resolve()) in asked), None))
    }
    yield from (
        f"{path.name} needs {name}, which is neither where it is looked for in the layer nor in {place.image.name}"
        for name in demands.needed
        if name not in brought and name not in place.image.libraries
    )
    yield from (
        f"{path.name} needs {name} with {version}, newer than that of {place.image.name}"
        for name, versions in demands.versions.items()
        if name not in brought
        for version in sorted(versions)
        if not is_old_enough(version, place.image)
    )
    for found in brought.values():
        yield from _walk(found, asked, place, handed_down)


def search_order(path: Path, demands: elf.Demands, place: Place, handed_down: tuple[Path, ...]) -> tuple[Path, ...]:
    """Where the system's loader looks before it comes to the image's own folders; ld.so(8)."""
    own = _folders(demands.runpath, path)
    lib = place.lib.resolve()
    return (lib, *own) if own else (*handed_down, lib)


def _folders(said: tuple[str, ...], path: Path) -> tuple[Path, ...]:
    return tuple(Path(re.sub(r"\$\{?ORIGIN\}?", str(path.parent), folder)) for folder in said)


def is_old_enough(version: str, image: Image) -> bool:
    """Whether the image's libraries have a symbol version, such as GLIBC_2.17; one of an unknown family counts as too new."""
    found = _VERSION.fullmatch(version)
    if found is None:
        return False
    return tuple(int(part) for part in found[2].split(".")) <= image.newest.get(found[1], ())
