"""The bare loop's process, beside the function's, and what else is made in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.bare_loop import Order
from benchmarks.batch_function import Place
from benchmarks.contenders import MEMORY_MB, ROOT
from benchmarks.workload import pack
from gluon_lambda.runtime.engine_environment import engine_environment, usable_threads


class RivalFailed(Exception):
    """Raised when the bare loop's process ends; says with what."""


class BareLoop:
    """The bare loop, with the engine's environment as the handler sets it. A context manager: its process ends with it."""

    def __init__(self, place: Place, pictures: Sequence[bytes], net: Path, folder: Path) -> None:
        """Start it.

        Args:
            place: The interpreter, and where logs go.
            pictures: What it decodes.
            net: The folder with the exported net.
            folder: For its pictures.
        """
        files = write_pictures(folder / "pictures", pictures)
        command = [str(place.python), "-m", "benchmarks.bare_loop", str(files), str(net)]
        with (place.logs / "batch-bare.log").open("wb") as sink:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=environ_of(place), text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=sink,
            )  # fmt: skip
        self._read()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()

    def run(self, order: Order) -> float:
        """The seconds that an order takes."""
        return float(self._ask(order))

    def answers(self) -> list[Any]:
        """What the net says of each picture."""
        told: list[Any] = self._ask("answers")
        return told

    def _ask(self, what: object) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        return json.loads(self._read())

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RivalFailed(f"the bare loop ended with {self._process.wait()}; see its log")
        return line


def environ_of(place: Place) -> dict[str, str]:
    """What the handler runs nets with, for a function of 2 vCPUs."""
    return {
        **engine_environment(usable_threads(MEMORY_MB), tempfile.gettempdir()),
        "LD_LIBRARY_PATH": place.library_path,
        "PATH": os.environ.get("PATH", os.defpath),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "handler"), str(ROOT)]),
    }


def write_pictures(folder: Path, pictures: Sequence[bytes]) -> Path:
    """Write them under numbers; nothing else stays in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.jpg"):
        old.unlink()
    for at, picture in enumerate(pictures):
        (folder / f"{at:02}.jpg").write_bytes(picture)
    return folder


def small_archive(place: Place, folder: Path) -> Path:
    """The archive of the small net, built anew: that takes two seconds."""
    net = folder / "small"
    subprocess.run(
        [str(place.python), "-m", "benchmarks.batch_nets", str(net)], check=True, cwd=ROOT, env=environ_of(place)
    )
    return pack(net, folder / "small.model")
