"""How many threads there are to use, and that the user's own settings win."""

from __future__ import annotations

import os

import pytest

from gluon_lambda.runtime.engine_environment import engine_environment, missing_from, quota_cpus, usable_threads

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


@pytest.mark.parametrize(
    ("text", "cpus"), [("max 100000", 1024), ("150000 100000\n", 1), ("200000 100000", 2), ("50000 100000", 1)]
)
def test_a_cgroup_quota_is_rounded_down_to_whole_cpus(text: str, cpus: int) -> None:
    assert quota_cpus(text) == cpus


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
        assert "OMP_PROC_BIND" not in engine_environment(2, "/tmp")
