"""Who is measured: each contender is a handler, the Python that runs it, its environment variables and what it is asked."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
RIVALS = ROOT / "benchmarks" / "rivals"
# Two vCPUs, as Lambda gives them: 1 for each 1,769 MB.
MEMORY_MB = 3538

# The workloads: what is asked, and by which answer contenders have to agree.
MOBILENET, CHAR_CNN, ALEXNET = "mobilenet", "char_cnn", "alexnet_hybrid"


class Contender(NamedTuple):
    """One handler to be measured.

    Attributes:
        name: As the table shows it.
        python: The interpreter, with the handler's packages.
        folder: What would be /var/task: the handler's working directory.
        handler: As Lambda's configuration names it.
        environ: The handler's own variables, beside those of Lambda.
        workload: What it is asked; only those of one workload are compared.
        options: The interpreter's own, before ``-m awslambdaric``.
    """

    name: str
    python: Path
    folder: Path
    handler: str
    environ: tuple[tuple[str, str], ...]
    workload: str = MOBILENET
    options: tuple[str, ...] = ()


class Places(NamedTuple):
    """Where the contenders find what they need.

    Attributes:
        python: The project's own interpreter.
        naive_python: The naive handler's, made by ``setup_naive.sh``.
        net: The folder with the exported net's files.
        archives: By workload, the model archive.
        bytecode: A folder for the bytecode of Python's own library and nothing else.
        s3_endpoint: Where the file server listens that plays S3; empty where there is none.
        s3_bucket: The bucket that holds the archives under their file names.
    """

    python: Path
    naive_python: Path
    net: Path
    archives: dict[str, Path]
    bytecode: Path
    s3_endpoint: str
    s3_bucket: str


def ours(places: Places, *, name: str, workload: str = MOBILENET) -> Contender:
    """Our handler with an archive on disk."""
    environ = (("GLUON_MODELS", f"{workload}={places.archives[workload]}"),)
    return Contender(name, places.python, ROOT / "handler", "lambda_function.lambda_handler", environ, workload)


def ours_on_s3(places: Places, *, name: str, workload: str) -> Contender:
    """Our handler with the same archive on S3."""
    location = f"s3://{places.s3_bucket}/{places.archives[workload].name}"
    environ = (("GLUON_MODELS", f"{workload}={location}"), ("AWS_ENDPOINT_URL_S3", places.s3_endpoint))
    return ours(places, name=name, workload=workload)._replace(environ=environ)


def without_bytecode(places: Places) -> Contender:
    """Our handler as a package without ``.pyc`` files would run: compiled at each start, kept nowhere."""
    plain = ours(places, name="no-bytecode")
    prefix = (("PYTHONPYCACHEPREFIX", str(places.bytecode)), ("PYTHONDONTWRITEBYTECODE", "1"))
    return plain._replace(environ=plain.environ + prefix)


def stock(places: Places, *, name: str, workload: str, python: Path) -> Contender:
    """Our handler and the same archive, but the service's ``import mxnet`` is the stock one."""
    environ = (
        *ours(places, name=name, workload=workload).environ,
        ("PYTHONPATH", str(ROOT / "handler")),
        # Where setuptools is installed it would answer for distutils, which costs 90 ms. No deployment package has it.
        ("SETUPTOOLS_USE_DISTUTILS", "stdlib"),
    )
    return Contender(name, python, RIVALS, "stock_import.lambda_handler", environ, workload)


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
    field = [
        ours(places, name="ours"),
        floor(places, name="floor", threads=1),
        floor(places, name="floor-2", threads=2),
        naive(places),
        naive(places, name="naive-2", threads=2),
        without_bytecode(places),
        ours_on_s3(places, name="ours-s3", workload=MOBILENET),
    ]
    for workload, short in ((CHAR_CNN, "char_cnn"), (ALEXNET, "alexnet")):
        field += [
            ours(places, name=short, workload=workload),
            stock(places, name=f"{short}-stock", workload=workload, python=places.python),
            stock(places, name=f"{short}-stock-1.23", workload=workload, python=places.naive_python),
        ]
    field.append(ours_on_s3(places, name="alexnet-s3", workload=ALEXNET))
    return {contender.name: contender for contender in field}
