"""Who is measured: each contender is a handler, the Python that runs it and its environment variables."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
RIVALS = ROOT / "benchmarks" / "rivals"
# Two vCPUs, as Lambda gives them: 1 for each 1,769 MB.
MEMORY_MB = 3538


class Contender(NamedTuple):
    """One handler to be measured.

    Attributes:
        name: As the table shows it.
        python: The interpreter, with the handler's packages.
        folder: What would be /var/task: the handler's working directory.
        handler: As Lambda's configuration names it.
        environ: The handler's own variables, beside those of Lambda.
    """

    name: str
    python: Path
    folder: Path
    handler: str
    environ: tuple[tuple[str, str], ...]


class Places(NamedTuple):
    """Where the contenders find what they need.

    Attributes:
        python: The project's own interpreter.
        naive_python: The naive handler's, made by ``setup_naive.sh``.
        net: The folder with the net's files.
        archive: The same files as a model archive.
        cache: Where our handler may keep what it unpacks.
    """

    python: Path
    naive_python: Path
    net: Path
    archive: Path
    cache: Path


def ours(places: Places) -> Contender:
    """Our handler with the built-in image service."""
    environ = (("GLUON_MODELS", f"mobilenet={places.archive}"), ("GLUON_CACHE_DIR", str(places.cache)))
    return Contender("ours", places.python, ROOT / "handler", "lambda_function.lambda_handler", environ)


def floor(places: Places, *, name: str, threads: int) -> Contender:
    """The straight-line floor with a fixed number of threads."""
    environ = (("BENCH_MODEL", str(places.net)), ("OMP_NUM_THREADS", str(threads)), ("MXNET_SUBGRAPH_VERBOSE", "0"))
    return Contender(name, places.python, RIVALS, "floor.lambda_handler", environ)


def naive(places: Places, *, name: str = "naive", threads: int | None = None) -> Contender:
    """The naive handler; MXNet chooses the number of threads unless one is given."""
    chosen = () if threads is None else (("OMP_NUM_THREADS", str(threads)),)
    environ = (("BENCH_MODEL", str(places.net)), *chosen)
    return Contender(name, places.naive_python, RIVALS, "naive.lambda_handler", environ)


def all_contenders(places: Places) -> dict[str, Contender]:
    """Every contender by name."""
    field = (
        ours(places),
        floor(places, name="floor", threads=1),
        floor(places, name="floor-2", threads=2),
        naive(places),
        naive(places, name="naive-2", threads=2),
    )
    return {contender.name: contender for contender in field}


def compile_bytecode(contender: Contender) -> None:
    """Compile a contender's own files, as a built package ships them; its packages were compiled when installed."""
    command = [str(contender.python), "-m", "compileall", "-q", str(contender.folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
