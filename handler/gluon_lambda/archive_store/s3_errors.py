"""What S3's and botocore's errors mean to whoever configured the location (Amazon S3 API Reference, Error Responses).

botocore's classes are looked up where something has been raised: a fetch that goes well loads none of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gluon_lambda.archive_store.location import Location
from gluon_lambda.errors import ArchiveNotFound, LoadError, StoreUnavailable

if TYPE_CHECKING:
    from botocore.exceptions import BotoCoreError, ClientError

MISSING = frozenset({"NoSuchKey", "NoSuchBucket", "NoSuchVersion", "404", "MethodNotAllowed", "405"})
DENIED = frozenset({"AccessDenied", "AllAccessDisabled", "403"})
NOT_MODIFIED = frozenset({"304", "NotModified"})
CHANGED = frozenset({"412", "PreconditionFailed"})
EMPTY = frozenset({"416", "InvalidRange"})


def answered_error() -> type[ClientError]:
    """The class of errors that S3 answered."""
    from botocore.exceptions import ClientError  # lazy: see above

    found: type[ClientError] = ClientError
    return found


def unanswered_error() -> type[BotoCoreError]:
    """The class of errors without an answer: no connection, no credentials, a body that broke off."""
    from botocore.exceptions import BotoCoreError  # lazy: see above

    found: type[BotoCoreError] = BotoCoreError
    return found


@contextmanager
def s3_errors(location: Location, action: str = "s3:GetObject") -> Iterator[None]:
    """Turn botocore's errors into ours; ``action`` is the IAM action that the call needs."""
    try:
        yield
    except answered_error() as error:
        raise client_error(error, location, action) from error
    except unanswered_error() as error:
        if "maximum recursion depth" in str(error):  # from Python 3.12 on, botocore itself catches what is caught below
            raise _endless(location) from None
        raise StoreUnavailable(
            f"{location.text}: S3 cannot be reached: {str(error).rstrip('.')}. "
            "Check the function's role, region and network (a VPC needs an S3 gateway endpoint)."
        ) from error
    except RecursionError:
        # botocore looks for the bucket's region by a request that is redirected, too. Without its thousand frames.
        raise _endless(location) from None


def _endless(location: Location) -> StoreUnavailable:
    return StoreUnavailable(redirected(location))


def redirected(location: Location) -> str:
    """What it means that S3 redirects without an end."""
    return (
        f"{location.text}: S3 redirects and does not say to which region. "
        "Check region and AWS_ENDPOINT_URL_S3 (https where the server wants it)."
    )


def error_code(error: ClientError) -> str:
    """S3's name of an error; the bare status where the answer has no body."""
    return str(error.response.get("Error", {}).get("Code", ""))


def client_error(error: ClientError, location: Location, action: str) -> LoadError:
    """What an error that S3 answered means."""
    code = error_code(error)
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    if code in MISSING or (code == "InvalidArgument" and location.version_id):
        return ArchiveNotFound(
            f"{location.text}: S3 has no such object ({code}). Check bucket, key{' and versionId' * bool(location.version_id)}."
        )
    if code in DENIED:
        return StoreUnavailable(denied(location, action))
    if code in CHANGED:
        return StoreUnavailable(
            f"{location.text}: the object was replaced each time it was fetched. Try again in a while."
        )
    if status in (429, 503) or "SlowDown" in code or "Throttl" in code:
        return StoreUnavailable(f"{location.text}: S3 throttles requests ({code}). Try again in a while.")
    message = error.response.get("Error", {}).get("Message", "")
    return StoreUnavailable(f"{location.text}: S3 answered {code} ({status}): {message}")


def denied(location: Location, action: str) -> str:
    """Say which permission is missing. A missing object looks the same to those who may not list."""
    if action == "s3:ListBucket":
        return f"{location.text}: S3 denies access. The function's role needs s3:ListBucket on arn:aws:s3:::{location.bucket}."
    needed = "s3:GetObjectVersion" if location.version_id else action
    return (
        f"{location.text}: S3 denies access. The function's role needs {needed} on "
        f"arn:aws:s3:::{location.bucket}/{location.path} (and kms:Decrypt where the object is encrypted with a KMS key). "
        f"Without s3:ListBucket on the bucket, S3 answers the same for an object that is not there."
    )
