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
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
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

    def __init__(self, *, seconds: float = SECONDS, environ: Mapping[str, str] | None = None) -> None:
        """Start the process, with ``environ`` beside this one's variables; ``SHARES_CPUS`` is its ``Engine``'s ``shares_cpus``."""
        self._seconds = seconds
        self._environ = dict(environ or {})
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
            env={**os.environ, "PYTHONPATH": paths, **self._environ},
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
        self.number = number
        self.inputs = inputs
        self.outputs = outputs

    def predict(self, arrays: Mapping[str, Any]) -> list[Any]:
        """Run it there."""
        answer: list[Any] = self._engine.ask("predict", self.number, dict(arrays))
        return answer

    def close(self) -> None:
        """Close it there."""
        self._engine.ask("close", self.number)


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

    def __init__(self, library: Any) -> None:
        self._library = library
        self._loaded: dict[int, Any] = {}

    def load(self, name: str, symbol: bytes, params: bytes, inputs: Sequence[Any]) -> tuple[int, Sequence[Any]]:
        predictor = self._engine()(name=name, symbol=symbol, params=params, inputs=inputs)
        number = max(self._loaded, default=0) + 1
        self._loaded[number] = predictor
        return number, predictor.outputs

    def predict(self, number: int, arrays: Mapping[str, Any]) -> list[Any]:
        answer: list[Any] = self._loaded[number].predict(arrays)
        return answer

    def close(self, number: int) -> None:
        self._loaded.pop(number).close()

    def from_threads(self, numbers: Sequence[int], arrays: Sequence[Mapping[str, Any]], times: int) -> list[list[Any]]:
        """Ask nets at once, each from a thread of its own with arrays of its own, that many times; all answers of each thread."""
        with ThreadPoolExecutor(len(numbers)) as threads:
            begin = threading.Barrier(len(numbers))

            def ask(number: int, given: Mapping[str, Any]) -> list[Any]:
                begin.wait()
                return [self._loaded[number].predict(given) for _ in range(times)]

            return list(threads.map(ask, numbers, arrays))

    def modules(self) -> list[str]:
        return sorted(sys.modules)

    def keep_outputs(self) -> None:
        """From now on the arrays of outputs are not freed: a leak to be found."""
        self._library.kept = True

    def calls_of_batches(
        self, symbol: bytes, params: bytes, inputs: Sequence[Any], arrays: Mapping[str, Any], batches: Sequence[int]
    ) -> list[dict[str, int]]:
        """How often each function of libmxnet was called to load a net, and then for one prediction of each batch size."""
        calls = self._library.calls
        calls.clear()
        predictor = self._engine()(name="net", symbol=symbol, params=params, inputs=inputs)
        counted = [dict(calls)]
        for rows in batches:
            calls.clear()
            predictor.predict({name: array.repeat(rows, axis=0) for name, array in arrays.items()})
            counted.append(dict(calls))
        return counted

    def repeat(
        self, work: str, symbol: bytes, params: bytes, inputs: Sequence[Any], arrays: Mapping[str, Any], times: int
    ) -> list[int]:
        """Do one of ``_WORK`` that many times; the process's resident bytes, a hundred times on the way."""
        begin, once = _WORK[work]
        made = begin(self._engine(), {"name": "net", "symbol": symbol, "params": params, "inputs": inputs})
        held = []
        for number in range(times):
            once(made, arrays, number)
            if number % (times // 100) == 0:
                held.append(_resident_bytes())
        return held

    def _engine(self) -> Any:
        from gluon_lambda.runtime.engine import Engine

        return Engine(self._library, shares_cpus=lambda: bool(os.environ.get("SHARES_CPUS")))


def _predict(predictor: Any, arrays: Mapping[str, Any], _number: int) -> None:
    predictor.predict(arrays)


def _predict_other_batches(predictor: Any, arrays: Mapping[str, Any], number: int) -> None:
    predictor.predict({name: array.repeat(1 + number % 6, axis=0) for name, array in arrays.items()})


def _fail_in_the_engine(predictor: Any, arrays: Mapping[str, Any], number: int) -> None:
    from gluon_lambda.errors import InferenceError

    try:
        predictor.predict({name: array[: 20 + number % 9] for name, array in arrays.items()})
    except InferenceError:
        return
    raise AssertionError("the engine was to fail")


def _fail_before_it(predictor: Any, arrays: Mapping[str, Any], number: int) -> None:
    from gluon_lambda.errors import InputMismatch

    try:
        predictor.predict({name: array[..., : 1 + number % 9] for name, array in arrays.items()})
    except InputMismatch:
        return
    raise AssertionError("the input was to be refused")


def _load_and_close(load: Any, arrays: Mapping[str, Any], _number: int) -> None:
    predictor = load()
    predictor.predict(arrays)
    predictor.close()


def _fail_to_load(load: Any, _arrays: Mapping[str, Any], number: int) -> None:
    from gluon_lambda.errors import ArchiveError

    net = load.keywords
    broken = [
        {**net, "symbol": net["symbol"].replace(b"Convolution", b"Konvolution")},
        {**net, "params": net["params"].replace(b"weight", b"height")},
        {**net, "params": net["params"][:-1]},
        {**net, "inputs": [spec._replace(shape=(0, 2, 8, 8)) for spec in net["inputs"]]},
    ][number % 4]
    try:
        load.func(**broken)
    except ArchiveError:
        return
    raise AssertionError("the net was to be refused")


def _loaded(engine: Any, net: Mapping[str, Any]) -> Any:
    return engine(**net)


_WORK: dict[str, tuple[Any, Any]] = {
    "predict": (_loaded, _predict),
    "predict_other_batches": (_loaded, _predict_other_batches),
    "fail_in_the_engine": (_loaded, _fail_in_the_engine),
    "fail_before_it": (_loaded, _fail_before_it),
    "load_and_close": (lambda engine, net: partial(engine, **net), _load_and_close),
    "fail_to_load": (lambda engine, net: partial(engine, **net), _fail_to_load),
}


def _resident_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _recording_library() -> Any:
    """The real library, which counts its calls, and frees no outputs where it is told so."""
    from gluon_lambda.runtime.libmxnet import Library, find_libmxnet

    class Recording(Library):
        kept = False

        def __init__(self, path: str) -> None:
            self.calls: Counter[str] = Counter()
            super().__init__(path)

        def call(self, name: str, *arguments: Any) -> None:
            self.calls[name] += 1
            if not (self.kept and name == "MXNDArrayFree"):
                super().call(name, *arguments)

    return Recording(find_libmxnet())


def _serve() -> None:
    # MXNet's own words must not come between the answers.
    answers, questions = os.fdopen(os.dup(1), "wb"), sys.stdin.buffer
    os.dup2(2, 1)
    from archives.native_libraries import load_native_libraries

    load_native_libraries()
    nets = _Nets(_recording_library())
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
