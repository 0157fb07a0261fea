"""The real ``python -m awslambdaric`` in a process of its own, under a Runtime API that is told what to do call by call.

It speaks what Lambda speaks to it: invocations with a deadline, and SnapStart's ``restore``. Nothing here waits for time to pass: a test says
what the process has to ask for next.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.runtime_api import Call, http_response, read_call
from tests.conftest import ROOT
from tests.events.gateways import GATEWAYS, Sent

_VERSION = "/2018-06-01/runtime"
NEXT, RESTORE = f"{_VERSION}/invocation/next", f"{_VERSION}/restore/next"
# Far above anything that is waited for, so that only a hang reaches it.
PATIENCE_SECONDS = 90


class Reply(NamedTuple):
    """What became of an invocation.

    Attributes:
        kind: ``response`` or ``error``.
        body: The value that was posted.
    """

    kind: str
    body: Any


class LambdaProcess:
    """A running function.

    Attributes:
        process: Its process.
        address: Host and port of its Runtime API.
    """

    def __init__(self, environ: Mapping[str, str], folder: Path, *, python: str = sys.executable) -> None:
        """Start it: ``environ`` beside Lambda's own variables; log and cache go into ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / "log"
        self._calls: queue.SimpleQueue[Call] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._count = 0
        self._server = _Server(self._calls, self._answers)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        variables = _lambda_variables(self.address, folder / "cache") | dict(environ)
        with self._log.open("wb") as sink:
            self.process = subprocess.Popen(
                [python, "-m", "awslambdaric", "lambda_function.lambda_handler"],
                cwd=ROOT / "handler",
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
            )

    def expect(self, path: str) -> Call:
        """The process's next call, which has to be for ``path``, or for one that ends so."""
        call = self._next_call()
        assert call.path.endswith(path), f"{call.path}: {call.body!r}\n{self._log.read_text()}"
        return call

    def hand_over(self, event: object, *, seconds: float = 60) -> str:
        """Answer the ``next`` that it waits with; the invocation may take so long. Returns its id."""
        self._count += 1
        request_id = f"00000000-0000-4000-8000-{self._count:012d}"
        headers = (
            ("Lambda-Runtime-Aws-Request-Id", request_id),
            ("Lambda-Runtime-Deadline-Ms", str(int((time.time() + seconds) * 1000))),
            ("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:123456789012:function:tested"),
            ("Lambda-Runtime-Trace-Id", f"Root=1-5bef4de7-{self._count:024x};Parent=40cd5a5f39e4a1c1;Sampled=0"),
        )
        self._answers.put(http_response("200 OK", json.dumps(event).encode(), headers))
        return request_id

    def invoke(self, event: object, *, seconds: float = 60) -> Reply:
        """Hand an event over, and take what is posted for it."""
        request_id = self.hand_over(event, seconds=seconds)
        call = self._next_call()
        kind = call.path.rpartition("/")[2]
        assert call.path == f"{_VERSION}/invocation/{request_id}/{kind}", f"{call.path}\n{self._log.read_text()}"
        return Reply(kind, json.loads(call.body))

    def restore(self) -> None:
        """Answer the ``restore/next`` that it waits with."""
        self._answers.put(http_response("200 OK", b""))

    def stop(self) -> None:
        """Stop it, as taking a snapshot does, and be sure that all its threads stand still."""
        self.process.send_signal(signal.SIGSTOP)
        # WUNTRACED: it has not ended.
        os.waitpid(self.process.pid, os.WUNTRACED)

    def go_on(self) -> None:
        """Let it go on, as restoring does."""
        self.process.send_signal(signal.SIGCONT)

    def exit_code(self) -> int:
        """Wait for its end."""
        return self.process.wait(PATIENCE_SECONDS)

    def calls_left(self) -> list[str]:
        """The paths of the calls that nobody has expected."""
        left = []
        with suppress(queue.Empty):
            while True:
                left.append(self._calls.get_nowait().path)
        return left

    def records(self) -> list[dict[str, Any]]:
        """The JSON lines of its log."""
        lines = self._log.read_text(errors="replace").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def records_with(self, field: str) -> list[dict[str, Any]]:
        """Those that have the field."""
        return [record for record in self.records() if field in record]

    def close(self) -> None:
        """End it and its Runtime API."""
        self.process.kill()
        self.process.wait()
        self._answers.put(b"")
        self._server.shutdown()
        self._server.server_close()

    def _next_call(self) -> Call:
        patient_until = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < patient_until:
            with suppress(queue.Empty):
                return self._calls.get(timeout=0.2)
            if self.process.poll() is not None and self._calls.empty():
                break
        raise AssertionError(f"no call; exit code {self.process.poll()}\n{self._log.read_text()}")


@contextmanager
def running(folder: Path, **environ: str) -> Iterator[LambdaProcess]:
    """A function with these variables, until the block ends."""
    function = LambdaProcess(environ, folder)
    try:
        yield function
    finally:
        function.close()


def http_event(method: str, path: str, body: str = "") -> dict[str, Any]:
    """An HTTP API's event with a JSON body."""
    headers = (("Content-Type", "application/json"),)
    return GATEWAYS["http_api_2_0"](Sent(method=method, path=path, headers=headers, body=body.encode()))


def _lambda_variables(address: str, cache: Path) -> dict[str, str]:
    return {
        "AWS_LAMBDA_RUNTIME_API": address,
        "AWS_LAMBDA_FUNCTION_NAME": "tested",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "3538",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "LANG": "C.UTF-8",
        "PATH": os.environ.get("PATH", os.defpath),
        "LD_LIBRARY_PATH": str(ROOT / "build" / "lib"),
        "PYTHONPATH": str(ROOT / "handler"),
        "GLUON_CACHE_DIR": str(cache),
        # Bound threads would share one CPU with those of other tests' processes.
        "GLUON_BIND_THREADS": "false",
    }


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self, calls: queue.SimpleQueue[Call], answers: queue.SimpleQueue[bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.calls, self.answers = calls, answers


class _Connection(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True
    server: _Server

    def handle(self) -> None:
        """Note each call; what asks for work waits until the test has some."""
        with suppress(ConnectionError):
            while (call := read_call(self.rfile)) is not None:
                self.server.calls.put(call)
                waits = call.path in (NEXT, RESTORE)
                answer = self.server.answers.get() if waits else http_response("202 Accepted", b'{"status":"OK"}')
                if not answer:
                    return
                self.wfile.write(answer)
