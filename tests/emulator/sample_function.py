"""The function that the emulator's tests run, in the forms they need, and how they ask it."""

from __future__ import annotations

import io
import os
import textwrap
from pathlib import Path
from typing import Protocol

from local_emulator.function import Function
from local_emulator.records import Invocation, Outcome

HANDLER = textwrap.dedent(
    '''
    """Does what the event asks for: the ways in which a function can end."""
    import os
    import subprocess
    import sys
    import time

    CALLS = []

    def say(text):
        return text

    def describe(context):
        return {
            "pid": os.getpid(),
            "calls": len(CALLS),
            "request_id": context.aws_request_id,
            "arn": context.invoked_function_arn,
            "remaining_ms": context.get_remaining_time_in_millis(),
            "client_context": getattr(context.client_context, "custom", None),
            "environment": dict(os.environ),
            "cwd": os.getcwd(),
            "path": sys.path,
        }

    def handler(event, context):
        CALLS.append(event)
        how = event.get("how") or event.get("rawPath", "")[1:]
        print("how:", how)
        if how == "raise":
            raise ValueError("this is wrong")
        if how == "sleep":
            child = subprocess.Popen(["sleep", "97"])
            with open("child", "w") as file:
                file.write(str(child.pid))
            time.sleep(60)
        if how == "pause":
            began = time.time()
            time.sleep(0.3)
            return [began, time.time(), os.getpid()]
        if how == "exit":
            os._exit(3)
        if how == "kill":
            os.kill(os.getpid(), 9)
        if how == "large":
            return "x" * event["characters"]
        if how == "grow":
            hold = bytearray(b"x") * (64 << 20)
            return len(hold)
        if how == "describe":
            return describe(context)
        if how == "answer":
            return event["answer"]
        return event
    '''
)

BROKEN_HANDLER = 'raise RuntimeError("the model is not there")\n'
VANISHING_HANDLER = "import os\nos._exit(7)\n"
# The second INIT is quick: what is slow once must not be given up for good.
SLOW_HANDLER = textwrap.dedent(
    """
    import os, time
    if not os.path.exists("started"):
        open("started", "w").close()
        time.sleep(30)

    def handler(event, context):
        return "late, but here"
    """
)

TEMPLATE = textwrap.dedent(
    """
    Resources:
      Echo:
        Type: AWS::Serverless::Function
        Properties:
          CodeUri: code
          Handler: app.handler
          MemorySize: 256
          Timeout: 2
    """
)

SHELL = {
    "PATH": os.environ["PATH"],
    "LD_LIBRARY_PATH": "/from/the/shell",
    "AWS_ACCESS_KEY_ID": "the-users-own",
    "NOT_LAMBDAS_BUSINESS": "secret",
}


class MakeFolder(Protocol):
    """Writes a function's source and its template; gives the folder."""

    def __call__(self, source: str) -> Path: ...


class MakeFunction(Protocol):
    """Makes a function from source; gives it with the log that it writes."""

    def __call__(
        self, source: str = ..., *, timeout_seconds: float = ..., init_seconds: float = ...
    ) -> tuple[Function, io.BytesIO]: ...


def ask(function: Function, event: bytes = b"{}", request_id: str = "id-1", client_context: str = "") -> Outcome:
    """Invoke ``function`` with ``event``."""
    return function.invoke(Invocation(request_id, event, "Root=1-00000000-000000000000000000000000", client_context))


def is_running(pid: int) -> bool:
    """Whether process ``pid`` is there and more than a zombie that nobody has asked after."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def child(code_folder: Path) -> int:
    """The process that the function started before it went to sleep; 0 where it has not yet."""
    noted = code_folder / "child"
    return int(noted.read_text() or 0) if noted.exists() else 0
