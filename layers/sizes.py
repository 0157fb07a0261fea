"""What Lambda allows, what we allow ourselves, and what each package takes of it. All in bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from layers.packing import files

# "Lambda quotas", AWS Lambda Developer Guide: 250 MB for the function and all its layers, unzipped; that is 250 * 1024 * 1024.
LAMBDA_LIMIT = 262_144_000


class Budgets(NamedTuple):
    """What function and layer may have together.

    Attributes:
        unzipped: With all that they hold.
        without_source: With bytecode in the source's place.
        zipped: Both archives.
    """

    unzipped: int = 250_000_000
    without_source: int = 235_000_000
    zipped: int = 85_000_000


class Sizes(NamedTuple):
    """What was built.

    Attributes:
        unpacked: The wheels' files and the native libraries.
        trimmed: After the rules of removal.
        cut: After symbols for debuggers were cut out.
        layer: As it ships.
        function: The function's folder as it ships.
        source: Python files of both that have bytecode beside them.
        bytecode: Bytecode of both.
        layer_zip: The layer's archive.
        function_zip: The function's archive.
    """

    unpacked: int
    trimmed: int
    cut: int
    layer: int
    function: int
    source: int
    bytecode: int
    layer_zip: int
    function_zip: int

    @property
    def together(self) -> int:
        """Function and layer, which is what Lambda counts."""
        return self.layer + self.function

    @property
    def without_source(self) -> int:
        """What they would be with bytecode in the source's place, at most: without docstrings it is less."""
        return self.together - self.source

    @property
    def zipped(self) -> int:
        """Both archives."""
        return self.layer_zip + self.function_zip


def total(folder: Path) -> int:
    """All files below the folder."""
    return sum(path.stat().st_size for path in files(folder))


def total_of(folder: Path, suffix: str) -> int:
    """The files below the folder with this suffix."""
    return sum(path.stat().st_size for path in files(folder) if path.suffix == suffix)


def top_level(path: PurePosixPath) -> str:
    """The name below ``python`` that a file belongs to: numpy, numpy.libs, typing_extensions."""
    first = path.parts[1] if path.parts[0] == "__pycache__" else path.parts[0]
    return first.partition(".")[0] if first.endswith((".py", ".pyc")) else first


def by_package(layer: Path, owners: Mapping[str, str]) -> Counter[str]:
    """What each package takes of the layer, the largest first.

    Args:
        layer: Its folder.
        owners: The package of each top-level name.
    """
    sizes: Counter[str] = Counter()
    for path in files(layer):
        place = PurePosixPath(path.relative_to(layer).as_posix())
        inside = PurePosixPath(*place.parts[1:])
        owner = owners[top_level(inside)] if place.parts[0] == "python" else "native libraries"
        sizes[owner] += path.stat().st_size
    return Counter(dict(sizes.most_common()))


def excess(sizes: Sizes, budgets: Budgets) -> list[str]:
    """What is over its budget, one sentence each."""
    checked = {
        "Function and layer unzipped": (sizes.together, budgets.unzipped),
        "Function and layer zipped": (sizes.zipped, budgets.zipped),
    }
    if sizes.bytecode:
        checked["Function and layer with bytecode alone"] = (sizes.without_source, budgets.without_source)
    return [
        f"{what}: {size:,} bytes, {size - budget:,} over the budget of {budget:,}"
        for what, (size, budget) in checked.items()
        if size > budget
    ]


def refuse_excess(sizes: Sizes, budgets: Budgets, packages: Counter[str]) -> None:
    """Stop where a budget is exceeded.

    Raises:
        SystemExit: Names each budget that is, and the five packages that take the most.
    """
    found = excess(sizes, budgets)
    if found:
        largest = ", ".join(f"{name} {size:,}" for name, size in packages.most_common(5))
        raise SystemExit(
            f"The layer is too large. {'. '.join(found)}. (Lambda itself refuses more than {LAMBDA_LIMIT:,} unzipped.) "
            f"The five largest packages: {largest}. Leave out more in layers/removals.py, or take a package out of requirements.txt"
        )
