"""Says what a layer holds: sizes before and after, what each package costs, every path that was removed and why."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from layers.removals import Removed
from layers.sizes import LAMBDA_LIMIT, Sizes
from layers.targets import Target


class Report(NamedTuple):
    """What was built.

    Attributes:
        target: For what.
        python: The interpreter that compiled bytecode; None for none.
        sizes: Of everything, in bytes.
        packages: What each takes of the layer, in bytes, the largest first.
        removed: What was left out.
        wheels: What it was made of.
    """

    target: Target
    python: str | None
    sizes: Sizes
    packages: Counter[str]
    removed: list[Removed]
    wheels: list[Path]


def summary(report: Report) -> str:
    """One line for the terminal."""
    sizes = report.sizes
    return (
        f"Layer for Python {report.target.python} on {report.target.architecture}: {sizes.layer:,} bytes, with the function {sizes.together:,} "
        f"({LAMBDA_LIMIT:,} are allowed), without source {sizes.without_source:,}; zipped {sizes.zipped:,}"
    )


def write(report: Report, folder: Path) -> None:
    """Write ``report.md`` for readers and ``report.json`` for programs."""
    (folder / "report.md").write_text(markdown(report))
    (folder / "report.json").write_text(json.dumps(_fields(report), indent=1) + "\n")


def _fields(report: Report) -> dict[str, object]:
    return {
        "python": report.target.python,
        "architecture": report.target.architecture,
        "image": report.target.image.name,
        "bytecode": report.python is not None,
        "sizes": report.sizes._asdict()
        | {"together": report.sizes.together, "without_source": report.sizes.without_source},
        "packages": dict(report.packages),
        "removed": [
            {"path": each.path, "size": each.size, "files": each.files, "rule": each.rule.name}
            for each in report.removed
        ],
        "wheels": {wheel.name: hashlib.sha256(wheel.read_bytes()).hexdigest() for wheel in report.wheels},
    }


def markdown(report: Report) -> str:
    """The report as a page."""
    return "\n".join(
        [
            f"# Layer for Python {report.target.python} on {report.target.image.name}, {report.target.architecture}",
            "",
            *_size_lines(report.sizes),
            "",
            *_package_lines(report),
            "",
            "## What was removed, and why",
            *_removal_lines(report.removed),
            "",
        ]
    )


def _size_lines(sizes: Sizes) -> Iterator[str]:
    yield from ("| | bytes |", "|---|---:|")
    rows = {
        "the wheels, unpacked, and the native libraries": sizes.unpacked,
        "after the rules below, with the OpenBLAS bridge and what else is compiled": sizes.trimmed,
        "after cutting symbols for debuggers out of libraries": sizes.cut,
        "the layer, with bytecode": sizes.layer,
        "the function": sizes.function,
        "**function and layer**": sizes.together,
        "allowed by Lambda": LAMBDA_LIMIT,
        "bytecode in both": sizes.bytecode,
        "function and layer with bytecode alone, at most (--no-source leaves docstrings out, too)": sizes.without_source,
        "the layer, zipped": sizes.layer_zip,
        "the function, zipped": sizes.function_zip,
    }
    yield from (f"| {name} | {size:,} |" for name, size in rows.items())


def _package_lines(report: Report) -> Iterator[str]:
    yield from ("| package | bytes in the layer |", "|---|---:|")
    yield from (f"| {name} | {size:,} |" for name, size in report.packages.items())


def _removal_lines(removed: list[Removed]) -> Iterator[str]:
    for rule, group in groupby(removed, key=lambda each: each.rule):
        paths = list(group)
        yield from ("", f"### {rule.name}: {sum(each.size for each in paths):,} bytes", "", f"{rule.reason}.", "")
        yield from (
            f"- `{each.path}`: {each.size:,}" + (f" in {each.files} files" if each.files > 1 else "") for each in paths
        )
