"""What libmxnet and its thread pools read from the process environment, and how many threads there should be.

All of it has to be in place before libmxnet is opened; a value that the user has set is left alone.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

# AWS Lambda: "At 1,769 MB, a function has the equivalent of one vCPU" (Configure Lambda function memory).
_MEGABYTES_PER_VCPU = 1769


def engine_environment(threads: int, scratch_folder: str) -> dict[str, str]:
    """The variables to set where the user has not.

    With more than one thread, each is bound to a CPU of its own: a thread that wakes up on the CPU of the one that waits for it holds both up
    until the scheduler notices, which doubled the time of half the invocations. It binds the main thread, too, and with it threads that an
    archive's code starts; OMP_PROC_BIND=false undoes it. Not where most CPUs are left to others, who would be bound to the same ones.

    Args:
        threads: How many threads an operator may use.
        scratch_folder: A writable folder; MXNet's default for its model zoo is the home folder, which Lambda has not.
    """
    bound = {"OMP_PROC_BIND": "true"} if threads > 1 and threads >= _available_cpus() - 1 else {}
    return bound | {
        "OMP_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
        # One request at a time: operators follow one another, and nothing is gained by a scheduler between them.
        "MXNET_ENGINE_TYPE": "NaiveEngine",
        "MXNET_CPU_WORKER_NTHREADS": "1",
        "MXNET_USE_OPERATOR_TUNING": "0",
        "MXNET_SUBGRAPH_VERBOSE": "0",
        "MXNET_HOME": os.path.join(scratch_folder, "mxnet"),
    }


def usable_threads(memory_megabytes: int | None) -> int:
    """Whole vCPUs that are really there: what the memory size gives, never more than affinity and CPU quota, at least 1.

    Rounded down, because one thread too many stalls on a throttled core: a better median, but a many times worse 99th percentile.
    """
    available = min(_available_cpus(), _quota_cpus())
    granted = available if memory_megabytes is None else memory_megabytes // _MEGABYTES_PER_VCPU
    return max(1, min(available, granted))


def _available_cpus() -> int:
    return len(os.sched_getaffinity(0))


def _quota_cpus() -> int:
    """Whole CPUs of the cgroup's quota (cgroup v2 ``cpu.max``: quota and period in µs), or many where there is none."""
    try:
        with open("/sys/fs/cgroup/cpu.max") as file:
            return quota_cpus(file.read())
    except OSError:
        return 1 << 10


def quota_cpus(cpu_max: str) -> int:
    """Whole CPUs that a ``cpu.max`` text grants; at least 1."""
    quota, _, period = cpu_max.partition(" ")
    return 1 << 10 if quota == "max" else max(1, int(quota) // int(period))


def missing_from(environ: Mapping[str, str], wanted: Mapping[str, str]) -> dict[str, str]:
    """The part of ``wanted`` that ``environ`` does not set."""
    return {name: value for name, value in wanted.items() if name not in environ}
