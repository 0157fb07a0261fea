"""Says in docs/versions.md what was tested on what, from what the tests themselves left behind.

    python -m layers.versions

``make test`` leaves build/tests/*.xml and ``make test-layers`` build/layers/*/tests.xml. Each says on which Python, NumPy and architecture it ran,
and where MXNet and NumPy came from (``facts``, which tests/conftest.py has pytest write). ``make test-arm64`` leaves build/layers/*/answered.json:
what a layer has answered on an emulated processor. What is found replaces what docs/versions.json knew of
the same combination, what is not found stays, and the page's table is written anew. Nothing in either is written by hand.
"""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from layers.images import IMAGES

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
RECORD = ROOT / "docs" / "versions.json"
PAGE = ROOT / "docs" / "versions.md"
BEGIN, END = "<!-- written by python -m layers.versions -->\n", "<!-- until here -->\n"
# As AWS names them.
ARCHITECTURES = {"x86_64": "x86_64", "aarch64": "arm64"}
# What tests/layer/test_arm64.py leaves beside a layer.
ANSWERED = "answered.json"
NOT_RUN, NOT_BUILT, NEVER_RUN = "not run", "not built", "built, never run"


class Combination(NamedTuple):
    """What is tested.

    Attributes:
        python: As ``3.12``.
        architecture: ``x86_64`` or ``arm64``.
        where: What Python finds MXNet and NumPy in: ``site-packages``, or a built ``layer``.
    """

    python: str
    architecture: str
    where: str


class Run(NamedTuple):
    """One run of the tests. The first fields are those of ``facts``.

    Attributes:
        python: As ``3.12.1``.
        numpy: As ``1.26.4``.
        architecture: See ``Combination``.
        where: See ``Combination``.
        commit: Of the tree that was tested, with a ``+`` where it was changed; empty where there is no git.
        passed: How many tests did.
        failed: How many did not.
        skipped: How many were not run, for want of a program, or are known to fail.
        date: When.
        under: What emulated the processor, as ``qemu 7.2.22``; empty where none did. Then what is counted are not tests, but events.
    """

    python: str
    numpy: str
    architecture: str
    where: str
    commit: str
    passed: int
    failed: int
    skipped: int
    date: str
    under: str = ""

    @property
    def of(self) -> Combination:
        """The combination that was tested."""
        return Combination(".".join(self.python.split(".")[:2]), self.architecture, self.where)


class Record(NamedTuple):
    """All that is known.

    Attributes:
        runs: The last run of each combination.
        built: Layers that were built, whether they were run or not.
    """

    runs: tuple[Run, ...] = ()
    built: tuple[Combination, ...] = ()


class Incomplete(Exception):
    """Raised for a run that was broken off, or does not say on what it ran."""


def main() -> int:
    """Read what is there, and write record and page; 1 if a run that is now in the record failed."""
    found, built = [], list(layers_built(BUILD))
    for path in (*BUILD.glob("tests/*.xml"), *BUILD.glob("layers/*/tests.xml")):
        try:
            found.append(read_run(path.read_text(encoding="utf-8")))
        except Incomplete as error:
            print(f"{path.relative_to(ROOT)} is left out: {error}")
    found += [Run(**json.loads(path.read_text(encoding="utf-8"))) for path in BUILD.glob(f"layers/*/{ANSWERED}")]
    record = updated(load(RECORD), found, built)
    RECORD.write_text(json.dumps(_stored(record), indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8"), table(record)), encoding="utf-8")
    print(table(record), end="")
    return int(any(run.failed for run in record.runs))


def facts() -> dict[str, str]:
    """On what this process runs: the first fields of ``Run``."""
    # Only here: the script itself runs where neither is installed.
    import numpy

    is_layer = (BUILD / "layers") in Path(numpy.__file__).resolve().parents
    return {
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
        "where": "layer" if is_layer else "site-packages",
        "commit": commit(ROOT),
    }


def commit(folder: Path) -> str:
    """See ``Run.commit``."""
    asked = (["rev-parse", "--short=10", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
    try:
        name, changed = (_git(folder, arguments) for arguments in asked)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return name + ("+" if changed else "")


def _git(folder: Path, arguments: list[str]) -> str:
    return subprocess.run(
        ["git", "-C", str(folder), *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


def read_run(text: str) -> Run:
    """A run out of what ``pytest --junitxml`` wrote.

    Raises:
        Incomplete: It was broken off, or says nothing of Python and NumPy.
    """
    suite = next(ElementTree.fromstring(text).iter("testsuite"))
    told = {each.get("name", ""): each.get("value", "") for each in suite.iter("property")}
    count = {name: int(suite.get(name, "0")) for name in ("tests", "failures", "errors", "skipped")}
    if missing := {"collected", *Run._fields[:5]} - set(told):
        raise Incomplete(f"it does not say {', '.join(sorted(missing))}")
    if count["tests"] < int(told["collected"]):
        raise Incomplete(f"{count['tests']} of {told['collected']} tests were run")
    failed = count["failures"] + count["errors"]
    passed = count["tests"] - failed - count["skipped"]
    python, numpy, architecture, where, tree = (told[name] for name in Run._fields[:5])
    date = suite.get("timestamp", "")[:10]
    return Run(python, numpy, architecture, where, tree, passed, failed, count["skipped"], date)


def layers_built(build: Path) -> Iterator[Combination]:
    """The layers that are whole: one that was refused has a report and no zip."""
    for path in sorted(build.glob("layers/*/layer.zip")):
        said = json.loads(path.with_name("report.json").read_text(encoding="utf-8"))
        machine = said.get("architecture", "x86_64")
        yield Combination(said["python"], ARCHITECTURES.get(machine, machine), "layer")


def updated(record: Record, runs: Iterable[Run], built: Iterable[Combination]) -> Record:
    """The record with what was found in the place of what it knew of the same combinations."""
    latest = {run.of: run for run in (*record.runs, *runs)}
    return Record(tuple(latest[key] for key in sorted(latest)), tuple(sorted({*record.built, *built})))


def load(path: Path) -> Record:
    """The record that is stored; an empty one where none is."""
    if not path.is_file():
        return Record()
    stored = json.loads(path.read_text(encoding="utf-8"))
    return Record(tuple(Run(**run) for run in stored["runs"]), tuple(Combination(**each) for each in stored["built"]))


def _stored(record: Record) -> dict[str, object]:
    return {"runs": [run._asdict() for run in record.runs], "built": [each._asdict() for each in record.built]}


def combinations() -> Iterator[Combination]:
    """Those that the table has, tested or not. MXNet's aarch64 wheel does not load as it is, so that on arm64 there is the layer or nothing."""
    for architecture, places in (("x86_64", ("site-packages", "layer")), ("arm64", ("layer",))):
        for where in places:
            yield from (Combination(python, architecture, where) for python in IMAGES)


def table(record: Record) -> str:
    """The table, as Markdown."""
    runs = {run.of: run for run in record.runs}
    head = ("| Python | NumPy | architecture | MXNet and NumPy from | tests | on | commit |", "|" + "---|" * 7)
    rows = (_row(each, runs.get(each), is_built=each in record.built) for each in combinations())
    return "\n".join((*head, *rows)) + "\n"


def _row(of: Combination, run: Run | None, *, is_built: bool) -> str:
    if run is None:
        state = NOT_RUN if of.where == "site-packages" else NEVER_RUN if is_built else NOT_BUILT
        return f"| {of.python} | | {of.architecture} | {of.where} | {state} | | |"
    said = answered(run) if run.under else result(run._asdict())
    return f"| {run.python} | {run.numpy} | {run.architecture} | {run.where} | {said} | {run.date} | {run.commit} |"


def result(counts: Mapping[str, int]) -> str:
    """How the tests went; what there is none of is not named."""
    named: Sequence[str] = ("failed", "passed", "skipped")
    said = ", ".join(f"{counts[name]:,} {name}" for name in named if counts[name])
    return f"**{said}**" if counts["failed"] else said


def answered(run: Run) -> str:
    """How events were answered on an emulated processor."""
    failed = f"**{run.failed:,} answered wrongly**, " if run.failed else ""
    return f"{failed}{run.passed:,} golden events answered, under {run.under}"


def with_table(page: str, written: str) -> str:
    """The page with this table between its marks.

    Raises:
        ValueError: It has no marks.
    """
    changed, count = re.subn(f"{BEGIN}.*?{END}", lambda _: BEGIN + written + END, page, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"the page has {count} places between {BEGIN.strip()} and {END.strip()}")
    return changed


if __name__ == "__main__":
    sys.exit(main())
