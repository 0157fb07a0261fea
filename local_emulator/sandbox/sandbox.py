"""One execution environment: INIT, then one invocation at a time, until something kills it; then INIT again."""

from __future__ import annotations

import json
import threading
import time
from typing import NamedTuple

from local_emulator.errors import SandboxClosed
from local_emulator.http_server import HttpServer
from local_emulator.records import MAX_RESPONSE_BYTES, Ending, FunctionConfiguration, Invocation, Outcome
from local_emulator.runtime_api.router import serve
from local_emulator.runtime_api.session import Answer, Delivery, RuntimeSession
from local_emulator.runtime_api.states import RuntimeState
from local_emulator.sandbox import report
from local_emulator.sandbox.console import Console
from local_emulator.sandbox.environment import Machine, environment_variables, function_arn
from local_emulator.sandbox.process import RuntimeProcess

#: How long INIT may take before Lambda ends it and repeats it inside the invocation, under the function's own timeout.
INIT_SECONDS = 10.0


class InitFailure(NamedTuple):
    """Why there is no runtime.

    Attributes:
        ending: INIT_ERROR, EXIT or TIMEOUT.
        payload: The JSON that describes it.
        reason: How the runtime exited, in Lambda's words, where it did.
    """

    ending: Ending
    payload: bytes
    reason: str = ""


class _Runtime(NamedTuple):
    """A runtime process and its Runtime API."""

    process: RuntimeProcess
    session: RuntimeSession
    server: HttpServer

    def end(self) -> None:
        self.process.kill()
        self.process.drain()
        self.session.terminate()
        self.server.stop()


class _Ended(NamedTuple):
    """How the invoke phase ended, before it is reported."""

    ending: Ending
    payload: bytes
    peak_mb: int = 0
    seconds: float = 0.0


class Sandbox:
    """One execution environment of one function.

    Not for two threads at once: whoever invokes it has taken it from the function's pool. Only ``close`` may come from another thread.
    """

    def __init__(
        self,
        function: FunctionConfiguration,
        console: Console,
        machine: Machine,
        *,
        init_seconds: float = INIT_SECONDS,
    ) -> None:
        self._function = function
        self._console = console
        self._machine = machine
        self._init_seconds = init_seconds
        self._lock = threading.Lock()
        self._closed = False
        self._runtime: _Runtime | None = None
        self._unreported_init_ms: float | None = None
        self._init_overran = False

    def initialise(self) -> InitFailure | None:
        """Run the INIT phase, if there is no living runtime.

        Returns:
            None where the runtime is ready; otherwise why it is not. The next invocation tries again.

        Raises:
            SandboxClosed: The emulator is ending.
        """
        if self._runtime is not None and self._runtime.session.state is not RuntimeState.TERMINATED:
            return None
        self._discard()
        self._unreported_init_ms = None
        if self._init_overran:
            return None  # Lambda does not try a second INIT phase: it repeats INIT inside the invocation
        failure = self._initialise(phase="init", seconds=self._init_seconds)
        self._init_overran = failure is not None and failure.ending is Ending.TIMEOUT
        return failure

    def invoke(self, invocation: Invocation) -> Outcome:
        """Answer one invocation; a sandbox without a living runtime is initialised first.

        Raises:
            SandboxClosed: The emulator is ending.
        """
        self._console.begin_tail()
        failure = self.initialise()
        self._console.line(report.start(invocation.request_id))
        ended = self._invoke_phase(invocation, failure, began=time.monotonic())
        self._report(invocation.request_id, ended)
        return Outcome(ended.ending, ended.payload, self._console.tail())

    def close(self) -> None:
        """Kill the runtime; the sandbox answers nothing any more."""
        with self._lock:
            self._closed = True
            if self._runtime is not None:
                self._runtime.end()
            self._runtime = None

    def _initialise(self, *, phase: str, seconds: float) -> InitFailure | None:
        self._console.line(report.init_start())
        began = time.monotonic()
        runtime = self._start()
        ready = runtime.session.wait_until_ready(until=began + seconds)
        init_ms = (time.monotonic() - began) * 1000
        if ready:
            runtime.process.peak_memory_mb()  # seen now, in case the first invocation ends it
            self._unreported_init_ms = init_ms if phase == "init" else None
            return None
        if self._closed:
            raise SandboxClosed("the emulator is ending")
        failure = _init_failure(runtime)
        self._discard()
        self._console.line(_init_report(failure, init_ms, phase))
        return failure

    def _start(self) -> _Runtime:
        with self._lock:
            if self._closed:
                raise SandboxClosed("the emulator is ending")
            session = RuntimeSession()
            server = serve(session)
            self._runtime = _Runtime(self._start_process(session, server.port), session, server)
            return self._runtime

    def _start_process(self, session: RuntimeSession, port: int) -> RuntimeProcess:
        address = f"127.0.0.1:{port}"
        variables = environment_variables(self._function, runtime_api=address, machine=self._machine)
        return RuntimeProcess(
            self._function.handler,
            folder=self._function.code_folder,
            environment=variables,
            console=self._console,
            on_exit=session.terminate,
        )

    def _discard(self) -> None:
        with self._lock:
            if self._runtime is not None:
                self._runtime.end()
            self._runtime = None

    def _invoke_phase(self, invocation: Invocation, failure: InitFailure | None, *, began: float) -> _Ended:
        until = began + self._function.timeout_seconds
        if self._init_overran:
            self._init_overran = False
            failure = self._initialise(phase="invoke", seconds=self._function.timeout_seconds)
        if failure is not None or self._runtime is None:
            ended = self._without_runtime(invocation.request_id, failure)
            return ended._replace(seconds=time.monotonic() - began)
        return self._run(self._runtime, invocation, began=began, until=until)

    def _without_runtime(self, request_id: str, failure: InitFailure | None) -> _Ended:
        if failure is None or failure.ending is Ending.TIMEOUT:
            return self._timeout(request_id)
        if failure.ending is Ending.EXIT:
            return self._exit(request_id, failure.reason)
        return _Ended(failure.ending, failure.payload)

    def _run(self, runtime: _Runtime, invocation: Invocation, *, began: float, until: float) -> _Ended:
        deadline_ms = int((time.time() + until - time.monotonic()) * 1000)
        runtime.session.deliver(Delivery(invocation, deadline_ms, function_arn(self._function.name)))
        answer = runtime.session.wait_for_answer(until=until)
        # The invoke phase ends when the runtime asks for its next invocation; until then it may still be at work, or about to die.
        ready = answer is not None and runtime.session.wait_until_ready(until=until)
        peak_mb, seconds = runtime.process.peak_memory_mb(), time.monotonic() - began
        runtime.process.drain()
        ended = self._ended(runtime, invocation.request_id, answer)
        if not ready:
            self._discard()
        return ended._replace(peak_mb=peak_mb, seconds=seconds)

    def _ended(self, runtime: _Runtime, request_id: str, answer: Answer | None) -> _Ended:
        if answer is None and runtime.session.state is RuntimeState.TERMINATED:
            return self._exit(request_id, runtime.process.exit_reason())
        if answer is None:
            return self._timeout(request_id)
        if answer.too_large:
            return _Ended(Ending.RESPONSE_TOO_LARGE, _response_too_large())
        failed = answer.state is RuntimeState.INVOCATION_ERROR_RESPONSE
        return _Ended(Ending.FUNCTION_ERROR if failed else Ending.SUCCESS, answer.body)

    def _timeout(self, request_id: str) -> _Ended:
        seconds = self._function.timeout_seconds
        self._console.line(report.timed_out(request_id, seconds))
        message = f"RequestId: {request_id} Error: Task timed out after {seconds:.2f} seconds"
        return _Ended(Ending.TIMEOUT, _error("Sandbox.Timedout", message))

    def _exit(self, request_id: str, reason: str) -> _Ended:
        self._console.line(report.exited(request_id, reason))
        return _Ended(Ending.EXIT, _error("Runtime.ExitError", f"RequestId: {request_id} Error: {reason}"))

    def _report(self, request_id: str, ended: _Ended) -> None:
        status, error_type = _status(ended)
        usage = report.Usage(
            duration_ms=min(ended.seconds, self._function.timeout_seconds) * 1000,
            init_ms=self._unreported_init_ms,
            memory_mb=self._function.memory_mb,
            peak_mb=ended.peak_mb,
            status=status,
            error_type=error_type,
        )
        self._unreported_init_ms = None
        self._console.line(report.end(request_id))
        self._console.line(report.report(request_id, usage))


def _status(ended: _Ended) -> tuple[str, str]:
    """REPORT's status and error type; what the function itself raised is none of REPORT's business."""
    if ended.ending in (Ending.SUCCESS, Ending.FUNCTION_ERROR):
        return "", ""
    if ended.ending is Ending.TIMEOUT:
        return "timeout", ""
    return "error", _error_type(ended.payload)


def _init_failure(runtime: _Runtime) -> InitFailure:
    answer = runtime.session.wait_for_answer(until=time.monotonic())
    if answer is not None:
        return InitFailure(Ending.INIT_ERROR, answer.body)
    if runtime.session.state is RuntimeState.TERMINATED:
        reason = runtime.process.exit_reason()
        return InitFailure(Ending.EXIT, _error("Runtime.ExitError", f"Error: {reason}"), reason)
    return InitFailure(Ending.TIMEOUT, _error("Sandbox.Timedout", "Error: INIT did not end in time"))


def _init_report(failure: InitFailure, init_ms: float, phase: str) -> str:
    if failure.ending is Ending.TIMEOUT:
        return report.init_report(init_ms, phase=phase, status="timeout")
    return report.init_report(init_ms, phase=phase, status="error", error_type=_error_type(failure.payload))


def _error(error_type: str, message: str) -> bytes:
    return json.dumps({"errorType": error_type, "errorMessage": message}).encode()


def _error_type(payload: bytes) -> str:
    try:
        return str(json.loads(payload)["errorType"])
    except (ValueError, KeyError, TypeError):
        return "Runtime.Unknown"


def _response_too_large() -> bytes:
    return _error(
        "Function.ResponseSizeTooLarge",
        f"Response payload size exceeded maximum allowed payload size ({MAX_RESPONSE_BYTES} bytes).",
    )
