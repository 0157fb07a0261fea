"""An S3, or SQS, that lets through what a role's policies allow, as IAM would, and notes which action was needed for what."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from tests.scripted_s3 import Asked, RelayingS3, error_bytes
from tests.template.stack import listed


class Need(NamedTuple):
    """What IAM is asked.

    Attributes:
        action: Like ``s3:GetObject``.
        resource: An ARN.
        prefix: The ``s3:prefix`` of a listing; None where the request has none.
    """

    action: str
    resource: str
    prefix: str | None = None


class Guarded(RelayingS3):
    """Passes on to moto what is allowed.

    Attributes:
        statements: The role's.
        used: Statement ids, with the action that they were needed for.
        denied: What none allowed.
        broken_uploads: How many parts of uploads are still to be refused, for a reason of S3's own.
        queue_arn: What messages are sent to.
    """

    def __init__(self, endpoint: str, statements: Sequence[Mapping[str, Any]], *, queue_arn: str = "") -> None:
        super().__init__(endpoint)
        self.statements = statements
        self.used: set[tuple[str, str]] = set()
        self.denied: list[Need] = []
        self.broken_uploads = 0
        self.queue_arn = queue_arn

    def answer(self, request: Asked) -> bytes:
        needs = [*needed(request, self.queue_arn)]
        if not all([self._allows(need) for need in needs]):
            return error_bytes(403, "AccessDenied")
        if "partNumber=" in request.target and self.broken_uploads:
            self.broken_uploads -= 1
            return error_bytes(400, "InvalidRequest")
        answered = super().answer(request)
        return error_bytes(403, "AccessDenied") if b" 404 " in answered[:20] and self._hides(needs[0]) else answered

    def _allows(self, need: Need) -> bool:
        allowing = [each for each in self.statements if allows(each, need)]
        self.used |= {(each["Sid"], need.action) for each in allowing}
        if not allowing:
            self.denied.append(need)
        return bool(allowing)

    def _hides(self, need: Need) -> bool:
        """Whether S3 tells a role without ``s3:ListBucket`` "denied" instead of "not there" (GetObject's and HeadObject's documentation)."""
        listing = Need("s3:ListBucket", need.resource.partition("/")[0])
        allowing = [each for each in self.statements if allows(each, listing)]
        self.used |= {(each["Sid"], listing.action) for each in allowing}
        return need.action.startswith("s3:Get") and not allowing


def allows(statement: Mapping[str, Any], need: Need) -> bool:
    """Whether an ``Allow`` of a policy covers it."""
    return (
        statement["Effect"] == "Allow"
        and need.action in statement["Action"]
        and any(_like(need.resource, pattern) for pattern in statement["Resource"])
        and _condition_holds(statement.get("Condition", {}), need)
    )


def _condition_holds(condition: Mapping[str, Any], need: Need) -> bool:
    if not condition:
        return True
    assert set(condition) == {"StringLike"}
    assert set(condition["StringLike"]) == {"s3:prefix"}
    # A key that the request does not have is like nothing.
    patterns = listed(condition["StringLike"]["s3:prefix"])
    return need.prefix is not None and any(_like(need.prefix, pattern) for pattern in patterns)


def _like(text: str, pattern: str) -> bool:
    # Of IAM's patterns, "*" and "?" are special, brackets are not.
    return re.fullmatch(fnmatch.translate(pattern.replace("[", "[[]")), text) is not None


def needed(request: Asked, queue_arn: str = "") -> Iterable[Need]:
    """What IAM is asked for a request (Service Authorization Reference: Amazon S3, Amazon SQS)."""
    if "x-amz-target" in request.headers:
        yield Need(request.headers["x-amz-target"].replace("AmazonSQS.", "sqs:"), queue_arn)
        return
    address = urlsplit(request.target)
    query = parse_qs(address.query, keep_blank_values=True)
    bucket, _, key = unquote(address.path).lstrip("/").partition("/")
    arn = f"arn:aws:s3:::{bucket}"
    if not key and "delete" in query:
        for each in re.findall(r"<Key>(.*?)</Key>", request.body.decode()):
            yield Need("s3:DeleteObject", f"{arn}/{each}")
    elif not key:
        assert request.method in ("GET", "HEAD"), request
        yield Need("s3:ListBucket", arn, query.get("prefix", [None])[0])
    else:
        yield Need(_object_action(request.method, query), f"{arn}/{key}")
        if source := request.headers.get("x-amz-copy-source"):
            yield Need("s3:GetObject", f"arn:aws:s3:::{unquote(source).lstrip('/')}")


def _object_action(method: str, query: Mapping[str, Any]) -> str:
    if method in ("GET", "HEAD"):
        return "s3:GetObjectVersion" if "versionId" in query else "s3:GetObject"
    if method == "DELETE":
        return "s3:AbortMultipartUpload" if "uploadId" in query else "s3:DeleteObject"
    return "s3:PutObject"
