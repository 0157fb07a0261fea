"""What libmxnet and its thread pools read from the process environment, and how many threads there should be.

All of it has to be in place before libmxnet is opened; a value that the user has set is left alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping

from gluon_lambda.errors import ConfigurationError

# AWS Lambda: "At 1,769 MB, a function has the equivalent of one vCPU" (Configure Lambda function memory).
_MEGABYTES_PER_VCPU = 1769

# How often an idle thread looks for work before it sleeps. libgomp's own 300,000 are milliseconds that the quota pays for, and that a
# thread which shares its CPU with another one (INIT imports Python meanwhile) takes from it; below 2,000 operators wait for one another.
_SPINS = 10_000

_NO_LIMIT = float("inf")

ENGINE_TYPES = ("NaiveEngine", "ThreadedEngine", "ThreadedEnginePerDevice")
# Read by MXNet as numbers. OpenMP itself takes lists in the first one.
_COUNTS = ("OMP_NUM_THREADS", "MXNET_CPU_WORKER_NTHREADS")

# Names that others add once there are several threads: NumPy while it is imported (numpy/core/__init__.py; it takes them out again), awslambdaric
# before an invocation (update_xray_env_variable). A new name moves the C library's list of all of them, which libmxnet may be reading in another
# thread (attributes(7): getenv is "MT-Safe env", setenv "MT-Unsafe const:env"): the process ends with a segmentation fault then, seldom and
# for no reason that anybody sees. A new value for a name that is there moves nothing.
ADDED_LATER = {"OPENBLAS_MAIN_FREE": "1", "GOTOBLAS_MAIN_FREE": "1", "_X_AMZN_TRACE_ID": ""}

# More than the file says of one processor; of the others it is not asked.
_CPUINFO_LENGTH = 4096
# What OpenBLAS 0.3.13, which MXNet's wheel brings, takes kernels with AVX2 for (vendor, family: models), asked as every one of them
# (tests/unit/test_openblas_kernels.py). For what it does not know, Intel's Ice Lake servers of 2021 among them, it takes those of 2004 to 2008.
_KNOWN_TO_OPENBLAS: dict[tuple[str, str], Collection[int]] = {
    ("GenuineIntel", "6"): (
        *(60, 61, 63, 69, 70, 71, 78, 79, 85, 86, 87, 94),
        *(102, 126, 133, 134, 142, 149, 150, 158, 165, 166),
    ),
    ("AuthenticAMD", "21"): (96, 101),
    **{(vendor, family): range(256) for vendor in ("AuthenticAMD", "HygonGenuine") for family in ("23", "24", "25")},
}

_CGROUP_V2 = "/sys/fs/cgroup"
_CGROUP_V1 = "/sys/fs/cgroup/cpu"


def engine_environment(
    threads: int, scratch_folder: str, *, engine_type: str = "NaiveEngine", bind_threads: bool | None = None
) -> dict[str, str]:
    """The variables to set where the user has not; docs/decisions/0005-engine-knobs.md has the figures behind each value.

    Args:
        threads: How many threads an operator may use.
        scratch_folder: A writable folder; MXNet's default for its model zoo is the home folder, which Lambda has not.
        engine_type: MXNet's scheduler. One request at a time: operators follow one another, and nothing is gained by a real one.
        bind_threads: Whether each thread is bound to a CPU of its own; None: where that helps.
    """
    return _thread_environment(threads, bind_threads=bind_threads) | {
        "OMP_NUM_THREADS": str(threads),
        # NumPy's alone, the engine's follows OpenMP. Nothing here multiplies matrices with NumPy, so it need not start threads. In arm64's
        # layer it is the engine's, too: threads of OpenMP's would each wait for those of OpenBLAS's.
        "OPENBLAS_NUM_THREADS": "1",
        **kernel_environment(),
        "MXNET_ENGINE_TYPE": engine_type,
        "MXNET_CPU_WORKER_NTHREADS": "1",
        "MXNET_USE_OPERATOR_TUNING": "0",
        "MXNET_SUBGRAPH_VERBOSE": "0",
        "MXNET_HOME": os.path.join(scratch_folder, "mxnet"),
    }


def _thread_environment(threads: int, *, bind_threads: bool | None) -> dict[str, str]:
    """How several threads wait for one another, and where they run.

    Bound: a thread that wakes up on the CPU of the one that waits for it holds both up until the scheduler notices, which doubled the time of
    half the invocations. It binds the thread that runs the net, too, and with it threads that an archive's code starts. Not where most CPUs
    are left to others, who would be bound to the same ones.
    """
    if threads == 1:
        return {}
    bound = threads >= _available_cpus() - 1 if bind_threads is None else bind_threads
    return {"OMP_PROC_BIND": "true" if bound else "false", "GOMP_SPINCOUNT": str(_SPINS)}


def kernel_environment(cpuinfo: str = "/proc/cpuinfo") -> dict[str, str]:
    """The part that says which kernels OpenBLAS is to take when it is loaded; empty where it is left to choose.

    Args:
        cpuinfo: The file that tells what the processor is.
    """
    kernels = openblas_kernels(_text_of(cpuinfo, _CPUINFO_LENGTH))
    return {"OPENBLAS_CORETYPE": kernels} if kernels else {}


def openblas_kernels(cpuinfo: str) -> str:
    """The kernels for a processor that OpenBLAS 0.3.13 does not know; empty for one that it knows, or that has none of AVX2 and FMA.

    Haswell's are AVX2 and FMA and nothing newer; the wheel's library is built without any for AVX-512. docs/decisions/0010-openblas-kernels.md has
    what they are worth.

    Args:
        cpuinfo: The text of /proc/cpuinfo, or its beginning; see proc(5). A flag is there if the kernel lets programs use it, too.
    """
    fields = _fields_of(cpuinfo.partition("\n\n")[0])
    if not {"avx2", "fma"} <= set(fields.get("flags", "").split()):
        return ""
    known = _KNOWN_TO_OPENBLAS.get((fields.get("vendor_id", ""), fields.get("cpu family", "")), ())
    return "" if fields.get("model", "") in map(str, known) else "Haswell"


def _fields_of(block: str) -> dict[str, str]:
    lines = (line.partition(":") for line in block.splitlines())
    return {name.strip(): value.strip() for name, _, value in lines}


def usable_threads(memory_megabytes: int | None) -> int:
    """Whole vCPUs that are really there: what the memory size gives, never more than affinity and CPU quota, at least 1.

    Rounded down, because one thread too many stalls on a throttled core: a better median, but a many times worse 99th percentile.
    """
    granted = _NO_LIMIT if memory_megabytes is None else memory_megabytes / _MEGABYTES_PER_VCPU
    return max(1, int(min(_available_cpus(), cpu_quota(_text_of), granted)))


def _available_cpus() -> int:
    return len(os.sched_getaffinity(0))


def cpu_quota(read: Callable[[str], str]) -> float:
    """CPUs that the process's cgroups grant: the least of its own and of those around it; infinite where none has a quota.

    Args:
        read: A file's text; empty where it cannot be read.
    """
    return min(_granted(folder, read) for folder in _cgroup_folders(read("/proc/self/cgroup")))


def _cgroup_folders(memberships: str) -> Iterator[str]:
    """The folders of the process's cgroups and of those around them; see cgroups(7), /proc/[pid]/cgroup.

    In a container the path may be that on the host, of which only the last folder is mounted, as the root.
    """
    yield from (_CGROUP_V2, _CGROUP_V1)
    for line in memberships.splitlines():
        _, _, membership = line.partition(":")
        controllers, _, path = membership.partition(":")
        if not controllers or "cpu" in controllers.split(","):
            folder = _CGROUP_V1 if controllers else _CGROUP_V2
            for name in filter(None, path.split("/")):
                folder = f"{folder}/{name}"
                yield folder


def _granted(folder: str, read: Callable[[str], str]) -> float:
    """One cgroup's quota: v2's ``cpu.max``, or v1's two files; each holds quota and period in µs, or ``max`` or -1 for none."""
    text = read(f"{folder}/cpu.max") or f"{read(f'{folder}/cpu.cfs_quota_us')} {read(f'{folder}/cpu.cfs_period_us')}"
    numbers = [int(word) for word in text.split() if word.isdigit()]
    return numbers[0] / numbers[1] if len(numbers) == 2 and numbers[1] else _NO_LIMIT


def _text_of(path: str, length: int = -1) -> str:
    try:
        with open(path, encoding="ascii", errors="surrogateescape") as file:
            return file.read(length)
    except OSError:
        return ""


def refuse_unreadable(environ: Mapping[str, str]) -> None:
    """Refuse values that libmxnet would end the process for, without a word that reaches the log.

    Raises:
        ConfigurationError: Names the variable, its value and what is accepted.
    """
    for name in _COUNTS:
        text = environ.get(name, "").strip()
        if text and not (text.isascii() and text.removeprefix("-").isdigit()):
            raise ConfigurationError(f"{name} has the value {text!r}. Accepted by MXNet: a whole number")
    engine = environ.get("MXNET_ENGINE_TYPE", ENGINE_TYPES[0])
    if engine not in ENGINE_TYPES:
        raise ConfigurationError(
            f"MXNET_ENGINE_TYPE has the value {engine!r}. Accepted: one of {', '.join(ENGINE_TYPES)}"
        )


def missing_from(environ: Mapping[str, str], wanted: Mapping[str, str]) -> dict[str, str]:
    """The part of ``wanted`` that ``environ`` does not set."""
    return {name: value for name, value in wanted.items() if name not in environ}
