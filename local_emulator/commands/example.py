"""One real request through the endpoint, shown as the ``curl`` line that repeats it."""

from __future__ import annotations

import http.client
import mimetypes
import os
import secrets
import shlex
from typing import NamedTuple
from urllib.parse import quote

from local_emulator.errors import UsageError

_SECONDS = 900.0  # Lambda's longest timeout; the function's own ends it before


class Example(NamedTuple):
    """A request to show: one form field ``data``.

    Attributes:
        model: The name it is served under.
        value: The field's bytes.
        filename: The file that they come from, as the user named it, or ``""`` for a text.
        content_type: Of the file part.
    """

    model: str
    value: bytes
    filename: str = ""
    content_type: str = ""


def file_example(argument: str) -> Example:
    """The example that ``--example NAME=FILE[;type=image/png]`` describes.

    Raises:
        UsageError: It is of another form, or the file cannot be read.
    """
    model, location = _split(argument, "--example NAME=FILE")
    filename, _, content_type = location.partition(";type=")
    try:
        with open(filename, "rb") as file:
            value = file.read()
    except OSError as error:
        raise UsageError(f"--example: cannot read {filename}: {error.strerror}") from error
    guessed = content_type or mimetypes.guess_type(filename)[0] or "application/octet-stream"
    return Example(model, value, filename, guessed)


def text_example(argument: str) -> Example:
    """The example that ``--example-text NAME=TEXT`` describes.

    Raises:
        UsageError: It is of another form.
    """
    model, text = _split(argument, "--example-text NAME=TEXT")
    return Example(model, text.encode())


def _split(argument: str, form: str) -> tuple[str, str]:
    model, equals, rest = argument.partition("=")
    if not (model and equals and rest):
        raise UsageError(f"{form}, not {argument!r}")
    return model, rest


def curl_line(example: Example, url: str) -> str:
    """The ``curl`` command that sends ``example``, to be copied into a shell."""
    target = shlex.quote(url + _path(example))
    if example.filename:
        return f"curl -X POST {target} -F {_quoted(_file_field(example))}"
    text = example.value.decode()
    # -F reads a value that begins with '@' or '<' from a file, and takes what follows a ';' for the part's type.
    option = "--form-string" if text[:1] in ("@", "<") or ";" in text else "-F"
    return f"curl -X POST {target} {option} {shlex.quote(f'data={text}')}"


def _file_field(example: Example) -> str:
    guessed = mimetypes.guess_type(example.filename)[0] == example.content_type
    return f"data=@{example.filename}" + ("" if guessed else f";type={example.content_type}")


def _quoted(text: str) -> str:
    # The form that MMS's own documentation has, wherever double quotes are enough.
    return shlex.quote(text) if any(character in text for character in '"$`\\!') else f'"{text}"'


def send(example: Example, host: str, port: int) -> tuple[int, str]:
    """Send ``example`` to the endpoint.

    Returns:
        Status and body of the answer.
    """
    boundary = secrets.token_hex(16)
    connection = http.client.HTTPConnection(host, port, timeout=_SECONDS)
    try:
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        connection.request("POST", _path(example), _multipart(example, boundary), headers)
        response = connection.getresponse()
        return response.status, response.read().decode(errors="replace")
    finally:
        connection.close()


def _path(example: Example) -> str:
    return f"/{quote(example.model)}/predict"


def _multipart(example: Example, boundary: str) -> bytes:
    disposition = 'form-data; name="data"'
    if example.filename:
        disposition += f'; filename="{os.path.basename(example.filename)}"'
    lines = [f"--{boundary}", f"Content-Disposition: {disposition}"]
    if example.content_type:
        lines.append(f"Content-Type: {example.content_type}")
    return "\r\n".join([*lines, "", ""]).encode() + example.value + f"\r\n--{boundary}--\r\n".encode()
