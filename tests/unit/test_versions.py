"""What docs/versions.md says of tests is what they left behind: read, kept, and written between its marks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from layers.versions import (
    BEGIN,
    END,
    PAGE,
    RECORD,
    Combination,
    Incomplete,
    Record,
    Run,
    commit,
    layers_built,
    load,
    read_run,
    table,
    updated,
    with_table,
)

RUN = Run("3.12.1", "1.26.4", "x86_64", "layer", "0123456789", 90, 0, 3, "2026-11-22")
LAYER = Combination("3.12", "x86_64", "layer")
ROOT = PAGE.parent.parent


def row(written: str, *starts: str) -> str:
    """The table's row of this Python, architecture and place, whatever its NumPy."""
    (found,) = [line for line in written.splitlines() if tuple(cells(line)[at] for at in (0, 2, 3)) == starts]
    return found


def cells(line: str) -> list[str]:
    return [each.strip() for each in line.split("|")[1:-1]]


def test_the_pages_table_is_what_the_record_says() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert with_table(page, table(load(RECORD))) == page


def test_the_record_has_whole_runs() -> None:
    runs = load(RECORD).runs
    assert runs
    assert all(run.passed > (10 if run.under else 100) and run.numpy and run.commit for run in runs)
    assert all(run.under and run.where == "layer" for run in runs if run.architecture == "arm64")


CONFTEST = """
import sys
sys.path.insert(0, {root!r})
from tests.run_facts import pytest_collection_finish, pytest_xdist_node_collection_finished
"""
TESTS = """
import pytest

def test_good(): pass

@pytest.mark.skip
def test_left_out(): pass

def test_bad(): assert {holds}
"""


def ran(folder: Path, *options: str, holds: bool = False) -> str:
    """What real tests leave behind: one passes, one is skipped, and one passes or not."""
    (folder / "conftest.py").write_text(CONFTEST.format(root=str(ROOT)))
    (folder / "test_some.py").write_text(TESTS.format(holds=holds))
    said = folder / "said.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(folder)]
    subprocess.run(
        [*command, f"--junitxml={said}", *options, str(folder)], capture_output=True, check=False, cwd=folder
    )
    return said.read_text()


@pytest.mark.parametrize("processes", ["0", "2"])
def test_a_run_is_read_from_what_the_tests_left_behind(tmp_path: Path, processes: str) -> None:
    run = read_run(ran(tmp_path, "--numprocesses", processes))
    assert (run.passed, run.failed, run.skipped) == (1, 1, 1)
    assert run.python == ".".join(map(str, sys.version_info[:3]))
    assert run.numpy.split(".")[0] in ("1", "2")
    assert run.of == Combination(run.python.rpartition(".")[0], "x86_64", run.where)


def test_tests_that_were_not_selected_are_not_missing(tmp_path: Path) -> None:
    assert read_run(ran(tmp_path, "-k", "good")).passed == 1


def test_a_run_that_was_broken_off_counts_for_nothing(tmp_path: Path) -> None:
    (tmp_path / "test_zzz.py").write_text("def test_never_reached(): pass\n")
    with pytest.raises(Incomplete, match="3 of 4 tests were run"):
        read_run(ran(tmp_path, "-x"))


def test_a_run_that_does_not_say_on_what_counts_for_nothing() -> None:
    with pytest.raises(Incomplete, match="does not say architecture, collected, commit, numpy, python, where"):
        read_run('<testsuites><testsuite tests="3" failures="0" errors="0" skipped="0"/></testsuites>')


def test_a_new_run_takes_the_place_of_the_same_combinations_and_leaves_the_others() -> None:
    other = RUN._replace(python="3.13.0", numpy="2.5.5")
    newer = RUN._replace(python="3.12.9", passed=91)
    assert updated(Record((RUN, other)), [newer], []).runs == (newer, other)


def test_what_is_not_found_this_time_stays_built() -> None:
    assert updated(Record((), (LAYER,)), [], []).built == (LAYER,)


def test_a_layer_is_built_where_its_report_says_so_and_it_was_not_refused(tmp_path: Path) -> None:
    reports = {"3.12": '{"python": "3.12"}', "arm": '{"python": "3.13", "architecture": "aarch64"}'}
    for name, said in {**reports, "too large": '{"python": "3.11"}'}.items():
        (tmp_path / "layers" / name).mkdir(parents=True)
        (tmp_path / "layers" / name / "report.json").write_text(said)
    for name in reports:
        (tmp_path / "layers" / name / "layer.zip").touch()
    assert set(layers_built(tmp_path)) == {LAYER, Combination("3.13", "arm64", "layer")}


def test_the_table_tells_run_from_built_and_from_neither() -> None:
    written = table(Record((RUN,), (LAYER, Combination("3.12", "arm64", "layer"))))
    assert row(written, "3.12.1", "x86_64", "layer").endswith("| 90 passed, 3 skipped | 2026-11-22 | 0123456789 |")
    assert "| built, never run |" in row(written, "3.12", "arm64", "layer")
    assert "| not built |" in row(written, "3.13", "arm64", "layer")
    assert "| not run |" in row(written, "3.11", "x86_64", "site-packages")


def test_a_run_with_failures_stands_out() -> None:
    assert "| **2 failed, 90 passed, 3 skipped** |" in table(Record((RUN._replace(failed=2),)))


EMULATED = RUN._replace(architecture="arm64", passed=21, skipped=0, under="qemu 7.2.22")


def test_events_that_an_emulated_processor_answered_are_told_from_tests() -> None:
    assert "| 21 golden events answered, under qemu 7.2.22 |" in row(
        table(Record((EMULATED,))), "3.12.1", "arm64", "layer"
    )
    failed = table(Record((EMULATED._replace(passed=20, failed=1),)))
    assert "| **1 answered wrongly**, 20 golden events answered, under qemu 7.2.22 |" in failed


def test_a_run_on_an_emulated_processor_is_stored_and_read_again(tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text(json.dumps({"runs": [EMULATED._asdict()], "built": []}))
    assert load(tmp_path / "record.json").runs == (EMULATED,)


def test_only_what_stands_between_the_marks_is_written() -> None:
    assert with_table(f"a\n{BEGIN}old\n{END}b\n", "new\n") == f"a\n{BEGIN}new\n{END}b\n"
    with pytest.raises(ValueError, match="has 0 places"):
        with_table("no marks", "new\n")


def test_a_tree_that_was_changed_is_told_from_its_commit(tmp_path: Path) -> None:
    assert commit(tmp_path) == ""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.com"]
    (tmp_path / "file").write_text("one")
    for arguments in (["init", "-q"], ["add", "file"], ["commit", "-q", "-m", "One"]):
        subprocess.run([*git, *arguments], check=True)
    clean = commit(tmp_path)
    assert len(clean) == 10
    (tmp_path / "file").write_text("two")
    assert commit(tmp_path) == f"{clean}+"
