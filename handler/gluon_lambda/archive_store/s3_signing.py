"""botocore's own signer, without the three quarters of botocore that it does not use.

``import botocore.auth`` costs 70 ms: by way of botocore.utils it loads urllib3, http.client, ssl, email and dateutil, to sign a request
with HMAC. So its file is run as a module of ours, and of the names that it imports from the expensive ones it is given the few that
signing S3's requests reaches. Where this botocore is built differently, the module itself is imported. Nothing is changed in botocore, and
a test holds the signatures of both against each other.
"""

from __future__ import annotations

import builtins
import datetime
from collections.abc import Callable, Iterator, Mapping
from importlib.machinery import PathFinder, SourceFileLoader, SourcelessFileLoader
from types import ModuleType, SimpleNamespace
from typing import Any, Protocol
from urllib.parse import parse_qs, quote, unquote, urlsplit, urlunsplit

from gluon_lambda.archive_store.s3_settings import Credentials

SERVICE = "s3"
SIGNER = "botocore.auth"
FILES = (SourceFileLoader, SourcelessFileLoader)


class Headers:
    """HTTP headers as the signer uses them: names without case, one value each."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        self._fields: dict[str, tuple[str, str]] = {}
        for name, value in fields.items():
            self[name] = value

    def __setitem__(self, name: str, value: str) -> None:
        self._fields[name.lower()] = (name, value)

    def __getitem__(self, name: str) -> str:
        return self._fields[name.lower()][1]

    def __delitem__(self, name: str) -> None:
        del self._fields[name.lower()]

    def __contains__(self, name: str) -> bool:
        return name.lower() in self._fields

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self._fields.values())

    def items(self) -> list[tuple[str, str]]:
        """Every name with its value."""
        return list(self._fields.values())

    def get_all(self, name: str) -> list[str]:
        """The values under a name."""
        return [self[name]]


class Request:
    """A request as botocore's signer wants it (botocore.awsrequest.AWSRequest, which loads urllib3)."""

    data = b""
    params: None = None

    def __init__(
        self, url: str, headers: Mapping[str, str], *, method: str = "GET", body: bytes | bytearray | memoryview = b""
    ) -> None:
        self.url = url
        self.method = method
        self.body = body
        self.headers = Headers(headers)
        self.context: dict[str, Any] = {}


class Signer(Protocol):
    """What is used of botocore.auth.S3SigV4Auth."""

    def add_auth(self, request: Any) -> None:
        """Put the signature into the request's headers."""
        ...


def make_signer(credentials: Credentials, region: str, *, load: Callable[[], ModuleType] | None = None) -> Signer:
    """botocore's signer for S3.

    Args:
        credentials: The function's.
        region: The bucket's.
        load: In place of ``load_signer_file``.
    """
    try:
        signer: Signer = (load or load_signer_file)().S3SigV4Auth(credentials, SERVICE, region)
        signer.add_auth(Request("https://host/key?versionId=1", {"Host": "host"}))
    except (ImportError, AttributeError, TypeError):  # a botocore that is built differently
        from botocore.auth import S3SigV4Auth  # lazy: the 70 ms that the file alone saves

        signer = S3SigV4Auth(credentials, SERVICE, region)
    return signer


def load_signer_file() -> ModuleType:
    """Run the file of botocore.auth as a module of ours.

    Its imports are answered by a function in its own ``__builtins__``: other threads import botocore meanwhile as ever.
    """
    import botocore  # lazy: an archive on disk needs none of it

    spec = PathFinder.find_spec(SIGNER, botocore.__path__)
    code = spec.loader.get_code(SIGNER) if spec and isinstance(spec.loader, FILES) else None
    if code is None:
        raise ImportError(f"{SIGNER} is no file")
    module = ModuleType(SIGNER)
    given = stand_ins()

    def answer(name: str, *arguments: Any, **keywords: Any) -> Any:
        return given.get(name) or builtins.__import__(name, *arguments, **keywords)

    vars(module)["__builtins__"] = {**vars(builtins), "__import__": answer}
    exec(code, vars(module))
    return module


def stand_ins() -> dict[str, Any]:
    """What the signer's file gets instead of modules that would load the rest; None where signing S3's requests never looks."""
    compat = SimpleNamespace(
        HAS_CRT=False,
        MD5_AVAILABLE=False,
        HTTPHeaders=lambda: Headers({}),
        encodebytes=None,
        ensure_unicode=lambda text, *_: text,
        get_current_datetime=now,
        parse_qs=parse_qs,
        quote=quote,
        unquote=unquote,
        urlsplit=urlsplit,
        urlunsplit=urlunsplit,
    )
    utils = SimpleNamespace(is_valid_ipv6_endpoint_url=None, normalize_url_path=None, percent_encode_sequence=None)
    dates = {"calendar": SimpleNamespace(), "email.utils": SimpleNamespace(formatdate=None)}
    return {"botocore.compat": compat, "botocore.utils": utils, **dates}


def now() -> datetime.datetime:
    """The time that is signed, in UTC."""
    return datetime.datetime.now(datetime.UTC)
