"""``python -m local_emulator`` as its user starts it, and what an HTTP client gets from it. Nothing here knows the handler."""

from __future__ import annotations

import http.client
import json
import os
import queue
import re
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
# What a started emulator may take until it announces itself: INIT has 10 seconds of Lambda's.
_SECONDS = 30.0


class Answer(NamedTuple):
    """What came back; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body's value."""
        return json.loads(self.body)


class Endpoint(NamedTuple):
    """An emulator that serves, and the file that holds its log."""

    process: subprocess.Popen[str]
    port: int
    log: Path

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def connect(self) -> http.client.HTTPConnection:
        """A connection, kept alive until it is closed."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=_SECONDS)

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request on a connection of its own."""
        connection = self.connect()
        try:
            return ask(connection, method, path, body, headers)
        finally:
            connection.close()


def ask(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """One request on this connection, and its whole answer."""
    connection.request(method, path, body, dict(headers or {}))
    response = connection.getresponse()
    found = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, found, response.read())


def form(name: str, value: bytes, *, filename: str = "", content_type: str = "") -> tuple[dict[str, str], bytes]:
    """Headers and body of a form with one part, as ``curl -F`` writes it."""
    boundary = secrets.token_hex(12)
    disposition = f'form-data; name="{name}"' + (f'; filename="{filename}"' if filename else "")
    lines = [f"--{boundary}", f"Content-Disposition: {disposition}"]
    lines += [f"Content-Type: {content_type}"] if content_type else []
    body = "\r\n".join([*lines, "", ""]).encode() + value + f"\r\n--{boundary}--\r\n".encode()
    return {"Content-Type": f"multipart/form-data; boundary={boundary}"}, body


def shell_variables(**changes: str) -> dict[str, str]:
    """The environment of a user's shell: ``python`` is this one, and the emulator is found from any folder."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "GLUON_"))}
    return {**inherited, "PATH": path, "PYTHONPATH": str(ROOT), **changes}


def start_api(*options: str, port: int = 0) -> list[str]:
    """The command that serves with these options."""
    return [sys.executable, "-m", "local_emulator", "start-api", "--port", str(port), *options]


@contextmanager
def serving(
    folder: Path, *options: str, port: int = 0, cwd: Path = ROOT, variables: Mapping[str, str] | None = None
) -> Iterator[Endpoint]:
    """``start-api`` with these options until the block ends.

    Args:
        folder: Takes the log, and the cache of archives.
        options: Options of ``start-api``.
        port: 0 for a free one.
        cwd: Where it is started.
        variables: Of the shell, beside the usual ones.
    """
    cache = f"GLUON_CACHE_DIR={folder / 'cache'}"
    with served_by(start_api(*options, "--env", cache, port=port), folder, cwd=cwd, variables=variables) as endpoint:
        yield endpoint


@contextmanager
def served_by(
    command: Sequence[str], folder: Path, *, cwd: Path = ROOT, variables: Mapping[str, str] | None = None
) -> Iterator[Endpoint]:
    """A command that starts the emulator, until the block ends; then as Ctrl-C ends it, and nothing of it may be left."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=shell_variables(**(variables or {})),
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            start_new_session=True,
        )
    try:
        yield Endpoint(process, _announced_port(process, log), log)
    finally:
        _end(process, log)


def _announced_port(process: subprocess.Popen[str], log: Path) -> int:
    line = next_line(process)
    match = re.search(r"listens on http://127\.0\.0\.1:(\d+) ", line)
    assert match, f"it says {line!r} and its log:\n{log.read_text()}"
    return int(match[1])


def next_line(process: subprocess.Popen[str]) -> str:
    """The next line that it prints, or ``""`` where none comes."""
    stream, lines = process.stdout, queue.Queue[str]()
    assert stream is not None
    # In a thread, for its time limit.
    threading.Thread(target=lambda: lines.put(stream.readline()), daemon=True).start()
    try:
        return lines.get(timeout=_SECONDS)
    except queue.Empty:
        return ""


def _end(process: subprocess.Popen[str], log: Path) -> None:
    family = _descendants(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    try:
        code = process.wait(10)
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()
    orphans = [pid for pid in family if Path(f"/proc/{pid}").exists()]
    # A program that waits for the emulator, like make, ends by the signal itself.
    assert code in (0, -signal.SIGINT), log.read_text()
    assert not orphans, log.read_text()


def _descendants(pid: int) -> list[int]:
    """The processes below ``pid``."""
    children = [
        int(child) for file in Path(f"/proc/{pid}/task").glob("*/children") for child in file.read_text().split()
    ]
    return children + [each for child in children for each in _descendants(child)]


def run_emulator(
    *arguments: str, event: object = None, cwd: Path = ROOT, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """``python -m local_emulator`` with these arguments to its end; ``event`` goes to its stdin as JSON."""
    return subprocess.run(
        [sys.executable, "-m", "local_emulator", *arguments],
        cwd=cwd,
        env=shell_variables(**(variables or {})),
        input=json.dumps(event),
        capture_output=True,
        text=True,
        timeout=2 * _SECONDS,
        check=False,
    )
