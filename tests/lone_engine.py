"""The native predictor as Lambda has it: in a process that has never imported ``mxnet``, whose Python package sets up part of libmxnet.

Run as a program it is that process; imported, it starts one and hands on what it answers. A crash or a hang of libmxnet ends only that.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parent.parent
_LENGTH = struct.Struct("<Q")
# Longer than the slowest prediction takes on a busy machine; what goes on hangs.
SECONDS = 60.0


class Died(Exception):
    """Raised when the process ended, or did not answer in time."""


class LoneEngine:
    """A ``types.PredictorFactory`` in a process of its own."""

    def __init__(self, *, seconds: float = SECONDS) -> None:
        """Start the process."""
        self._seconds = seconds
        self._process = self._start()

    def __call__(self, *, name: str, symbol: bytes, params: bytes | memoryview, inputs: Sequence[Any]) -> LonePredictor:
        """Load a net there."""
        number, outputs = self.ask("load", name, symbol, bytes(params), list(inputs))
        return LonePredictor(self, number, tuple(inputs), tuple(outputs))

    def ask(self, verb: str, *arguments: Any) -> Any:
        """Have the process do something.

        Raises:
            Died: It crashed or hung; a new one is started for the next question.
            Exception: What it raised.
        """
        assert self._process.stdin is not None
        try:
            _write(self._process.stdin, (verb, *arguments))
            raised, value = self._read()
        except (EOFError, BrokenPipeError):
            status = self.close()
            self._process = self._start()
            raise Died(f"the engine's process ended with {status} while it had to {verb}") from None
        if raised:
            raise value
        return value

    def close(self) -> int:
        """End the process; its exit status."""
        self._process.kill() if self._process.poll() is None else None
        with self._process:
            return self._process.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        paths = os.pathsep.join([str(ROOT / "handler"), str(ROOT)])
        return subprocess.Popen(
            [sys.executable, "-m", "tests.lone_engine"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": paths},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def _read(self) -> tuple[bool, Any]:
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], self._seconds)[0]:
            self._process.send_signal(signal.SIGKILL)
        answer: tuple[bool, Any] = _read(self._process.stdout)
        return answer


class LonePredictor:
    """A net in that process; implements ``types.Predictor``."""

    def __init__(self, engine: LoneEngine, number: int, inputs: tuple[Any, ...], outputs: tuple[Any, ...]) -> None:
        """Remember which it is."""
        self._engine = engine
        self._number = number
        self.inputs = inputs
        self.outputs = outputs

    def predict(self, arrays: Mapping[str, Any]) -> list[Any]:
        """Run it there."""
        answer: list[Any] = self._engine.ask("predict", self._number, dict(arrays))
        return answer

    def close(self) -> None:
        """Close it there."""
        self._engine.ask("close", self._number)


def _write(stream: IO[bytes], value: Any) -> None:
    content = pickle.dumps(value)
    stream.write(_LENGTH.pack(len(content)) + content)
    stream.flush()


def _read(stream: IO[bytes]) -> Any:
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    return pickle.loads(stream.read(_LENGTH.unpack(head)[0]))


class _Nets:
    """What the process can be asked to do."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._loaded: dict[int, Any] = {}

    def load(self, name: str, symbol: bytes, params: bytes, inputs: Sequence[Any]) -> tuple[int, Sequence[Any]]:
        predictor = self._engine(name=name, symbol=symbol, params=params, inputs=inputs)
        number = max(self._loaded, default=0) + 1
        self._loaded[number] = predictor
        return number, predictor.outputs

    def predict(self, number: int, arrays: Mapping[str, Any]) -> list[Any]:
        answer: list[Any] = self._loaded[number].predict(arrays)
        return answer

    def close(self, number: int) -> None:
        self._loaded.pop(number).close()

    def modules(self) -> list[str]:
        return sorted(sys.modules)


def _serve() -> None:
    # MXNet's own words must not come between the answers.
    answers, questions = os.fdopen(os.dup(1), "wb"), sys.stdin.buffer
    os.dup2(2, 1)
    from archives.native_libraries import load_native_libraries
    from gluon_lambda.runtime.engine import Engine

    load_native_libraries()
    nets = _Nets(Engine.open())
    while True:
        try:
            verb, *arguments = _read(questions)
        except EOFError:
            return
        try:
            answer = (False, getattr(nets, verb)(*arguments))
        except Exception as error:  # noqa: BLE001 - it is raised where it was asked for
            # What it was raised from may be of a class that cannot be pickled.
            answer = (True, error.with_traceback(None))
        _write(answers, answer)


if __name__ == "__main__":
    _serve()
