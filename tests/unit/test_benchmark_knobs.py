"""The benchmark of the engine's settings: quotas that are set and taken back, workers with the real engine, and what is made of their times."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.cpu_quota import Quota, QuotaGroup, QuotaUnavailable, open_group
from benchmarks.engine_knobs import (
    LAMBDA_PERIOD_MS,
    NO_QUOTA,
    QUICK,
    TABLES,
    Cell,
    Contender,
    Worker,
    markdown_lines,
    measure_cell,
    ours,
    run_lines,
    turn_facts,
)
from benchmarks.knob_worker import Spec, Turn
from tests.conftest import ExportedNet

V1 = ("cpu.cfs_quota_us", "cpu.cfs_period_us", "cgroup.procs")
BUSY = "input(); import time\nwhile time.process_time() < 0.3: pass"


def group_folder(tmp_path: Path, *files: str) -> Path:
    """What the kernel makes of a new folder in a cgroup file system."""
    folder = tmp_path / "group"
    folder.mkdir()
    for name in files:
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(("quota", "written"), [(Quota(1.13, 20), "22600"), (Quota(0, 20), "-1")])
def test_a_quota_of_cgroup_v1_is_two_files(tmp_path: Path, quota: Quota, written: str) -> None:
    folder = group_folder(tmp_path, *V1)
    QuotaGroup(folder).limit(quota)
    assert [(folder / name).read_text() for name in V1[:2]] == [written, "20000"]


@pytest.mark.parametrize(("quota", "written"), [(Quota(0.5, 100), "50000 100000"), (Quota(0, 20), "max 20000")])
def test_a_quota_of_cgroup_v2_is_one_file(tmp_path: Path, quota: Quota, written: str) -> None:
    folder = group_folder(tmp_path, "cpu.max")
    QuotaGroup(folder).limit(quota)
    assert (folder / "cpu.max").read_text() == written


def test_where_no_quota_can_be_set_it_is_said_why_and_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(QuotaUnavailable, match="the CPU controller is not there"):
        open_group((tmp_path / "not mounted", tmp_path))
    with pytest.raises(QuotaUnavailable, match="no cgroup file system is mounted"):
        open_group((tmp_path / "not mounted",))
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def group() -> Iterator[QuotaGroup]:
    """A real one; only root, or whoever owns a cgroup, may make it."""
    try:
        opened = open_group()
    except QuotaUnavailable as reason:
        pytest.skip(str(reason))
    with opened:
        yield opened
    assert not opened.folder.exists()


def test_a_process_in_the_group_is_held_to_the_quota_and_no_longer_when_released(group: QuotaGroup) -> None:
    def throttled() -> int:
        counts = dict(line.split() for line in (group.folder / "cpu.stat").read_text().splitlines())
        return int(counts["nr_throttled"])

    # A tenth: more than that it gets even where every CPU is wanted by many others.
    group.limit(Quota(0.1, LAMBDA_PERIOD_MS))
    for admitted in (True, False):
        before = throttled()
        child = subprocess.Popen([sys.executable, "-c", BUSY], stdin=subprocess.PIPE, text=True)
        group.admit(child.pid)
        if not admitted:
            group.release(child.pid)
        child.communicate("go\n")
        # Not a single time: what is left of a period may hold up whoever is admitted for a moment.
        assert (throttled() - before > 3) is admitted


@pytest.fixture(scope="module")
def net(small_net: ExportedNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported net on disk; its path as ``Spec`` has it."""
    path = tmp_path_factory.mktemp("net") / "small"
    path.with_name("small-symbol.json").write_bytes(small_net.symbol)
    path.with_name("small-0000.params").write_bytes(small_net.params)
    return path


@pytest.mark.parametrize("options", [{}, {"how": "gluon"}, {"how": "gluon", "fuse": True, "cpus": (0,)}], ids=str)
def test_workers_answer_with_as_many_times_as_they_were_asked_for(net: Path, options: dict[str, object]) -> None:
    contender = Contender("it", ours(1), options)
    worker = Worker(contender, Spec(str(net), (1, 1, 8, 8), **options), library_path="build/lib")  # type: ignore[arg-type]
    try:
        assert {"start_ms", "open_ms", "first_ms", "peak_kib"} == set(worker.ready)
        taken = measure_cell(Cell("small", NO_QUOTA, gap_ms=1), {"it": (worker, None)}, QUICK, None)
        assert taken["it"]["runs"] == QUICK.rounds * QUICK.singles
        assert 0 < taken["it"]["median"] <= taken["it"]["p99"]
    finally:
        worker.stop()


def test_a_worker_that_fails_is_reported_with_what_it_wrote(tmp_path: Path) -> None:
    spec = Spec(str(tmp_path / "none"), (1,))
    with pytest.raises(RuntimeError, match="No such file"):
        Worker(Contender("it", ours(1), {}), spec, library_path="build/lib")


def test_what_is_printed_is_compared_with_the_first_contender() -> None:
    entries = {"one": turn_facts([Turn([2.0, 4.0], 3.0)]), "two": turn_facts([Turn([1.0], 5.0), Turn([2.0], 6.0)])}
    block = {"net": "lenet", "vcpus": 1.5, "period_ms": 20, "gap_ms": 0.0, "contenders": entries}
    _, heading, first, second = run_lines(block)
    assert "lenet, 1.5 vCPU, period 20 ms, in a row" in heading
    assert first.split()[1:] == ["3.00", "3.00", "4.00", "1.00", "1.00", "1.00", "3.00", "2"]
    assert second.split()[1:] == ["1.50", "1.50", "2.00", "0.50", "0.50", "0.50", "5.50", "2"]
    assert list(markdown_lines([block]))[-1] == (
        "| lenet | 1.5 | 20 ms | in a row | 3.00 / 3.00 / 4.00 | 1.50 / 1.50 / 2.00 |"
    )


def test_every_contender_starts_from_what_the_handler_sets() -> None:
    stock = "MXNet as it comes"
    for table in (make() for make in TABLES):
        for contender in table.contenders:
            changed = set(contender.environ.items()) - set(ours(1).items()) - set(ours(2).items())
            assert contender.environ == {} if stock in contender.name else len(changed) <= 1
