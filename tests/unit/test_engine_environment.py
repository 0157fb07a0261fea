"""How many threads there are to use, and that the user's own settings win."""

from __future__ import annotations

import math
import os
import subprocess
import sys

import pytest

from benchmarks.cpu_quota import Quota, QuotaUnavailable, open_group
from gluon_lambda.errors import ConfigurationError
from gluon_lambda.runtime.engine_environment import (
    cpu_quota,
    engine_environment,
    missing_from,
    refuse_unreadable,
    usable_threads,
)

HERE = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(("megabytes", "threads"), [(128, 1), (1769, 1), (3537, 1), (3538, 2), (10_240, 5)])
def test_whole_vcpus_of_the_memory_size_rounded_down(megabytes: int, threads: int) -> None:
    assert usable_threads(megabytes) == min(threads, usable_threads(None))


def test_never_more_than_the_process_may_run_on() -> None:
    assert 1 <= usable_threads(None) <= HERE
    first = min(os.sched_getaffinity(0))
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {first})
    try:
        assert usable_threads(10_240) == 1
    finally:
        os.sched_setaffinity(0, before)


def quota_of(files: dict[str, str]) -> float:
    return cpu_quota(lambda path: files.get(path, ""))


V1 = "/sys/fs/cgroup/cpu"
V2 = "/sys/fs/cgroup"


@pytest.mark.parametrize(
    ("text", "cpus"), [("max 100000\n", math.inf), ("150000 100000\n", 1.5), ("22600 20000", 1.13), ("", math.inf)]
)
def test_a_quota_of_cgroup_v2_is_read(text: str, cpus: float) -> None:
    assert quota_of({f"{V2}/cpu.max": text}) == cpus


@pytest.mark.parametrize(("quota", "cpus"), [("-1\n", math.inf), ("50000\n", 0.5), ("250000\n", 2.5)])
def test_a_quota_of_cgroup_v1_is_read(quota: str, cpus: float) -> None:
    assert quota_of({f"{V1}/cpu.cfs_quota_us": quota, f"{V1}/cpu.cfs_period_us": "100000\n"}) == cpus


def test_the_least_quota_of_the_groups_around_the_process_counts() -> None:
    memberships = "0::/pod/container\n"
    files = {f"{V2}/cpu.max": "max 100000", f"{V2}/pod/cpu.max": "120000 100000", f"{V2}/pod/container/cpu.max": "3 1"}
    assert quota_of({"/proc/self/cgroup": memberships, **files}) == 1.2


def test_groups_of_cgroup_v1_are_those_of_its_cpu_controller() -> None:
    memberships = "9:cpuset:/elsewhere\n4:cpu,cpuacct:/a/b\n0::/\n"
    quota = {"cpu.cfs_quota_us": "30000", "cpu.cfs_period_us": "20000"}
    inside = {f"{V1}/a/b/{name}": value for name, value in quota.items()}
    elsewhere = {f"{V1}/elsewhere/{name}": value for name, value in {**quota, "cpu.cfs_quota_us": "1"}.items()}
    assert quota_of({"/proc/self/cgroup": memberships, **inside, **elsewhere}) == 1.5


def test_a_path_that_is_the_hosts_leaves_the_mounted_group() -> None:
    assert quota_of({"/proc/self/cgroup": "0::/docker/0a1b\n", f"{V2}/cpu.max": "100000 50000"}) == 2.0


def test_the_quota_that_this_process_gets_is_kept_to() -> None:
    """In a process of its own, since the kernel is asked; where no cgroup may be made there is nothing to see."""
    try:
        group = open_group()
    except QuotaUnavailable as reason:
        pytest.skip(str(reason))
    asked = "from gluon_lambda.runtime.engine_environment import *; input(); print(usable_threads(None))"
    with group:
        for vcpus, threads in ((0.5, 1), (1.9, 1), (2, min(2, HERE))):
            group.limit(Quota(vcpus, period_ms=20))
            child = subprocess.Popen(
                [sys.executable, "-c", asked], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            group.admit(child.pid)
            told, _ = child.communicate("go\n")
            assert int(told) == threads


def test_the_user_s_own_settings_are_left_alone() -> None:
    wanted = engine_environment(2, "/tmp/scratch")
    assert wanted["OMP_NUM_THREADS"] == "2"
    assert wanted["MXNET_HOME"] == "/tmp/scratch/mxnet"
    added = missing_from({"OMP_NUM_THREADS": "7", "MXNET_ENGINE_TYPE": "ThreadedEngine"}, wanted)
    assert "OMP_NUM_THREADS" not in added
    assert "MXNET_ENGINE_TYPE" not in added
    assert added["MXNET_SUBGRAPH_VERBOSE"] == "0"


def test_several_threads_are_bound_to_a_cpu_each_and_one_is_left_free() -> None:
    assert "OMP_PROC_BIND" not in engine_environment(1, "/tmp")
    if HERE > 1:
        assert engine_environment(HERE, "/tmp")["OMP_PROC_BIND"] == "true"


def test_threads_are_not_bound_where_most_cpus_are_left_to_others() -> None:
    if HERE > 3:
        assert engine_environment(2, "/tmp")["OMP_PROC_BIND"] == "false"


@pytest.mark.parametrize(("setting", "expected"), [(True, "true"), (False, "false")])
def test_whether_threads_are_bound_is_the_users_to_say(*, setting: bool, expected: str) -> None:
    assert engine_environment(2, "/tmp", bind_threads=setting)["OMP_PROC_BIND"] == expected
    assert "OMP_PROC_BIND" not in engine_environment(1, "/tmp", bind_threads=setting)


def test_several_threads_wait_for_one_another_only_for_a_moment() -> None:
    assert int(engine_environment(2, "/tmp")["GOMP_SPINCOUNT"]) < 300_000
    assert "GOMP_SPINCOUNT" not in engine_environment(1, "/tmp")


def test_the_engines_type_is_the_users_to_say() -> None:
    assert engine_environment(1, "/tmp", engine_type="ThreadedEngine")["MXNET_ENGINE_TYPE"] == "ThreadedEngine"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OMP_NUM_THREADS", "4,2"),
        ("OMP_NUM_THREADS", "1_0"),
        ("MXNET_CPU_WORKER_NTHREADS", "many"),
        ("MXNET_ENGINE_TYPE", "Nonsense"),
    ],
)
def test_a_value_that_would_end_the_process_without_a_word_is_refused(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"{name} has the value {value!r}"):
        refuse_unreadable({name: value})


def test_what_mxnet_reads_is_not_refused() -> None:
    refuse_unreadable(engine_environment(2, "/tmp"))
    refuse_unreadable({"MXNET_ENGINE_TYPE": "ThreadedEngine", "OMP_NUM_THREADS": "8"})
    for text in ("", " 2", "-1"):
        refuse_unreadable({"OMP_NUM_THREADS": text})
