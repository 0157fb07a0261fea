"""The S3 client: a lean one where the environment says all that it has to know, boto3's everywhere else.

Both answer in the same form, boto3's, and raise the same errors, botocore's: a contract test runs one suite over them. What each costs is
in docs/decisions/0004-s3-client.md.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Protocol

CONNECT_SECONDS = 3
# A fetch has eight for its parts, and before these flow up to eight for the headers of large members.
FETCH_CONNECTIONS = 16
READ_SECONDS = 20


class Body(Protocol):
    """What is used of botocore's StreamingBody."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Fill ``buffer``; returns how many bytes came, 0 at the end.

        Raises:
            BotoCoreError: The connection broke off.
        """
        ...


class S3Client(Protocol):
    """What is used of boto3's S3 client."""

    def get_object(self, **request: Any) -> dict[str, Any]:
        """GetObject.

        Raises:
            ClientError: S3 answered with an error.
            BotoCoreError: It did not answer.
        """
        ...

    def list_objects_v2(self, **request: Any) -> dict[str, Any]:
        """ListObjectsV2; raises the same."""
        ...

    def close(self) -> None:
        """End the connections."""
        ...


ClientFactory = Callable[[], S3Client]


def import_compiled(environ: Mapping[str, str] = os.environ) -> None:
    """Import what the lean client uses that is compiled (6 ms; 14 ms with TLS).

    For INIT, before it opens libmxnet: an extension module that is imported meanwhile waits for that, with the interpreter locked.
    """
    # lazy, all of them: archives on disk need none
    import datetime  # noqa: F401
    import hashlib  # noqa: F401
    import socket  # noqa: F401

    endpoint = environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL") or "https:"
    if endpoint.startswith("https:"):
        import ssl  # noqa: F401


def make_s3_client(environ: Mapping[str, str] = os.environ) -> S3Client:
    """The cheapest client that does as botocore does, with what AWS's own variables say."""
    return make_lean_client(environ) or make_full_client(environ)


def make_lean_client(environ: Mapping[str, str] = os.environ) -> S3Client | None:
    """The lean client, which asks nobody before its first request; None where these variables leave it to boto3's."""
    from gluon_lambda.archive_store.s3_settings import read_settings  # lazy: archives on disk do not need it

    settings = read_settings(environ)
    if settings is None:
        return None
    from gluon_lambda.archive_store.s3_lean import LeanClient  # lazy: boto3's client does without it

    return LeanClient(settings, lambda: make_full_client(environ))


def make_full_client(environ: Mapping[str, str] = os.environ, *, connections: int = FETCH_CONNECTIONS) -> S3Client:
    """boto3's client, with credentials, region, proxy and endpoint from wherever AWS defines them.

    Args:
        environ: AWS's own variables.
        connections: How many are kept open: one for each thread that uses the client.
    """
    import boto3  # lazy: 140 to 240 ms that archives on disk do not need
    from botocore.config import Config

    from gluon_lambda.archive_store.s3_settings import ATTEMPTS, region_of

    said = environ.get("AWS_RETRY_MODE") or environ.get("AWS_MAX_ATTEMPTS")
    retries = {} if said else {"retries": {"mode": "standard", "total_max_attempts": ATTEMPTS}}
    timeouts = {"connect_timeout": CONNECT_SECONDS, "read_timeout": READ_SECONDS}
    config = Config(**timeouts, max_pool_connections=connections, **retries)
    # A session of its own: boto3's common one is not made for several threads, and would keep credentials for the whole process.
    client: S3Client = boto3.Session().client("s3", region_name=region_of(environ) or None, config=config)
    return client
