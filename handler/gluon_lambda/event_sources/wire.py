"""What the wire formats share: the shape of an event source, bodies, headers, paths, sizes. A leaf of this package."""

from __future__ import annotations

import json
import sys
from binascii import a2b_base64, b2a_base64
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol, TypeVar
from urllib.parse import unquote

from gluon_lambda.errors import MalformedBody, ResponseTooLarge
from gluon_lambda.types import DirectCall, Event, LambdaContext, Pairs, Request, Response

# AWS Lambda Developer Guide, "Lambda quotas": 6 MB for a synchronous answer. The Runtime API refuses what is longer
# than 6 MiB + 100 B, and awslambdaric then ends the process, so that the next invocation is a cold start.
LAMBDA_RESPONSE_LIMIT_BYTES = 6_291_556

# awslambdaric escapes all that is not ASCII on Lambda's Python 3.11 and older, and writes UTF-8 from 3.12 on.
RUNTIME_ESCAPES_NON_ASCII = sys.version_info < (3, 12)
# What one byte of UTF-8 may become inside a JSON string: a control character is written as \u00XX.
LONGEST_ESCAPE = 6

TEXT_TYPES = frozenset(
    {
        "application/json",
        "application/javascript",
        "application/x-ndjson",
        "application/x-www-form-urlencoded",
        "application/xml",
        "application/yaml",
    }
)


Answer = TypeVar("Answer")


class Placement(NamedTuple):
    """Where this function stands; what an event by itself does not tell.

    Attributes:
        base_path: A custom domain's base path, as ``/models`` in ``https://api.example.com/models/ping``; or empty.
        models: How many models are configured: with exactly one, direct invokes need not name it.
    """

    base_path: str = ""
    models: int = 1


class EventSource(Protocol):
    """One wire format. A module with these members is one."""

    @property
    def TITLE(self) -> str:  # noqa: N802 (a module's constant)
        """What messages call it."""
        ...

    @property
    def RESPONSE_LIMIT_BYTES(self) -> int:  # noqa: N802 (a module's constant)
        """The longest answer that the source takes, as JSON."""
        ...

    def matches(self, event: Any, /) -> bool:
        """Whether the event came by this source."""
        ...

    def to_request(self, event: Any, context: LambdaContext, placement: Placement, /) -> Request | DirectCall:
        """What the event asks.

        Raises:
            MalformedBody: The body is not what the event says of it.
            UnsupportedEvent: A direct invoke that does not say which model it means.
        """
        ...

    def to_response(self, response: Response, event: Any, /) -> Any:
        """The answer in the source's own form.

        Raises:
            ResponseTooLarge: The source would refuse it.
        """
        ...


def section(event: Any, key: str) -> Mapping[str, Any]:
    """The mapping under ``key``; empty where it is missing, null or anything else."""
    value = event.get(key) if isinstance(event, dict) else None
    return value if isinstance(value, dict) else {}


def text(event: Any, key: str) -> str:
    """The text under ``key``; empty where it is missing, null or anything else."""
    value = event.get(key)
    return value if isinstance(value, str) else ""


def decode_body(event: Event) -> bytes:
    """The request's body as the client sent it.

    Raises:
        MalformedBody: The body is no text, or is marked as base64 and is not.
    """
    body = event.get("body")
    if body is None:
        return b""
    if not isinstance(body, str):
        raise MalformedBody(f"the event's body is a JSON {type(body).__name__}; a string or null is expected")
    try:
        return a2b_base64(body, strict_mode=True) if event.get("isBase64Encoded") else body.encode()
    except ValueError as error:  # binascii.Error and UnicodeEncodeError are ValueErrors
        form = "base64" if event.get("isBase64Encoded") else "text"
        raise MalformedBody(f"the event's body does not decode as {form}: {error}") from error


def single_values(values: Mapping[str, Any]) -> Pairs:
    """Pairs of a mapping of name to text; nulls are left out."""
    return tuple([(name, str(value)) for name, value in values.items() if value is not None])


def multi_values(values: Mapping[str, Any]) -> Pairs:
    """Pairs of a mapping of name to list of text, repeats kept in their order; nulls are left out."""
    each = ((name, value) for name, given in values.items() for value in listed(given))
    return tuple((name, str(value)) for name, value in each if value is not None)


def listed(value: Any) -> list[Any]:
    """The value itself where it is a list; nothing for null, and else a list of it alone."""
    if isinstance(value, list):
        return value
    return [] if value is None else [value]


def pairs(event: Any, multi: str, single: str) -> Pairs:
    """Pairs of the section ``multi`` where the event has it, of ``single`` otherwise."""
    return multi_values(section(event, multi)) or single_values(section(event, single))


def request_headers(named: Iterable[tuple[str, str]], cookies: Iterable[str] = ()) -> Pairs:
    """Headers as a ``Request`` holds them: lower-case names, and all cookies in one ``cookie`` header (RFC 6265, 5.4).

    Args:
        named: Names and values as the event has them.
        cookies: The event's own list of cookies, which outranks cookie headers.
    """
    headers = [(name.lower(), value) for name, value in named]
    crumbs = "; ".join(cookies) or "; ".join([value for name, value in headers if name == "cookie"])
    rest = [pair for pair in headers if pair[0] != "cookie"]
    return (*rest, ("cookie", crumbs)) if crumbs else tuple(rest)


def request_path(path: Any, *prefixes: str) -> str:
    """The path that routes look at: decoded, without the stage and base path that stand before it.

    REST APIs, Function URLs and load balancers hand the path over percent-encoded, HTTP APIs have decoded it. Decoding
    it again changes a path only where ``%`` and two hexadecimal digits are meant literally, and no route has that.

    Args:
        path: As the event has it; anything but text counts as ``/``.
        prefixes: What to take off where it is there, first to last, with or without slashes.
    """
    local = path if isinstance(path, str) else ""
    local = unquote(local) if "%" in local else local
    local = local if local.startswith("/") else f"/{local}"
    for prefix in prefixes:
        local = _without_prefix(local, prefix.strip("/"))
    return local


def _without_prefix(path: str, prefix: str) -> str:
    if prefix and f"{path}/".startswith(f"/{prefix}/"):
        return path[len(prefix) + 1 :] or "/"
    return path


def encode_body(response: Response) -> tuple[str, bool]:
    """The body as it travels in JSON, and whether that is base64."""
    if _says_text(response):
        try:
            return response.body.decode(), False
        except UnicodeDecodeError:
            pass  # whatever its content type says: base64 keeps every byte
    return b2a_base64(response.body, newline=False).decode("ascii"), True


def _says_text(response: Response) -> bool:
    if not response.body:
        return True
    headers = dict(response.headers)
    if headers.get("content-encoding", "identity") != "identity":
        return False
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    return media_type.startswith("text/") or media_type in TEXT_TYPES or media_type.endswith(("+json", "+xml"))


def grouped(headers: Pairs) -> dict[str, list[str]]:
    """Header values by name, names and values in order."""
    groups: dict[str, list[str]] = {}
    for name, value in headers:
        groups.setdefault(name, []).append(value)
    return groups


def within_limit(answer: Answer, response: Response, *, limit: int, source: str) -> Answer:
    """``answer`` itself, once it is sure that its JSON is not over the limit.

    Args:
        answer: What goes to awslambdaric.
        response: What it was made of.
        limit: In bytes.
        source: The event source's title, for the message.

    Raises:
        ResponseTooLarge: It is over; the message names size and limit.
    """
    if _longest(response) <= limit:
        return answer
    size = json_size(answer)
    if size > limit:
        raise ResponseTooLarge(
            f"the response is {size:,} bytes long as JSON; {source} takes {limit:,}. "
            "Ask for less in one request, or have the service answer in a more compact form."
        )
    return answer


def _longest(response: Response) -> int:
    # Nothing is serialised for the answers that fit whatever they hold, which is nearly all of them.
    frame = 200 + sum([len(name) + len(value) + 20 for name, value in response.headers])
    return LONGEST_ESCAPE * (len(response.body) + frame)


def json_size(value: Any) -> int:
    """How many bytes awslambdaric makes of ``value``."""
    return len(json.dumps(value, ensure_ascii=RUNTIME_ESCAPES_NON_ASCII).encode(errors="surrogatepass"))
