"""What S3's and botocore's errors mean to a batch: which object, why, and what helps (Amazon S3 API Reference, Error Responses)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from gluon_lambda.archive_store.location import Location
from gluon_lambda.archive_store.s3_errors import (
    CHANGED,
    DENIED,
    EMPTY,
    MISSING,
    answered_error,
    denied,
    error_code,
    redirected,
    unanswered_error,
)
from gluon_lambda.errors import (
    BucketMissing,
    ObjectDenied,
    ObjectError,
    ObjectMissing,
    ObjectReplaced,
    ObjectUnavailable,
)

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

# Another conditional write, or a delete, of the same key is under way.
CONFLICT = frozenset({"409", "ConditionalRequestConflict", "OperationAborted", "Conflict"})
# Pass by themselves, though their status is the client's: slow or damaged on the way, credentials that are renewed, an upload that was given up.
_PASSING = frozenset(
    {
        "RequestTimeout",
        "RequestTimeoutException",
        "InternalError",
        "ServiceUnavailable",
        "PriorRequestNotComplete",
        "BadDigest",
        "XAmzContentChecksumMismatch",
        "IncompleteBody",
        "ExpiredToken",
        "RequestExpired",
        "RequestTimeTooSkewed",
        "NoSuchUpload",
    }
)
# No answer, and none to be hoped for: botocore would not even ask.
_NOT_ASKED = (
    "NoCredentialsError",
    "PartialCredentialsError",
    "ParamValidationError",
    "NoRegionError",
    "InvalidRegionError",
)


class Asked(NamedTuple):
    """What was asked of S3.

    Attributes:
        action: The IAM action that it needs.
        bucket: The bucket's name.
        key: The object's key, or a listing's prefix.
        version: The version, where one was named.
    """

    action: str
    bucket: str
    key: str
    version: str = ""

    @property
    def location(self) -> Location:
        """The same, as archives' messages take it."""
        return Location(f"s3://{self.bucket}/{self.key}", self.key, self.bucket, self.version)


@contextmanager
def object_errors(asked: Asked) -> Iterator[None]:
    """Turn what S3 and botocore raise into ours; a TimeoutError says that S3 is waited for no longer."""
    try:
        yield
    except TimeoutError:
        raise ObjectUnavailable(
            f"{asked.location.text}: S3 had not answered when the invocation's time was up. Try again with more time."
        ) from None
    except answered_error() as error:
        raise _answered(asked, error) from error
    except _unanswered() as error:
        raise _no_answer(asked, error) from error
    except (
        RecursionError
    ):  # botocore looks for the bucket's region by a request that is redirected, too. Without its thousand frames
        raise ObjectDenied(redirected(asked.location)) from None


def conflict(asked: Asked) -> ObjectUnavailable:
    """What it means that every attempt to write collided with another one."""
    return ObjectUnavailable(
        f"{asked.location.text}: S3 reports a write or a delete of this key at the same time (409). Try again in a while."
    )


def is_passing(code: str, status: int | None = None) -> bool:
    """Whether an error that S3 answered passes by itself."""
    if code == "NotImplemented":
        return False
    return (status is not None and (status == 429 or status >= 500)) or (
        "SlowDown" in code or "Throttl" in code or code in _PASSING or code in CONFLICT
    )


def refusal(asked: Asked, code: str, status: int | None, message: str) -> ObjectError:
    """What an error that S3 answered means."""
    location = asked.location
    if is_passing(code, status):
        return ObjectUnavailable(f"{location.text}: S3 answered {code} ({status}): {message} Try again in a while.")
    if code == "NoSuchBucket":
        return BucketMissing(f"{location.text}: there is no bucket {asked.bucket} (NoSuchBucket). Check its name.")
    if code in MISSING or (code in ("InvalidArgument", "400") and asked.version):
        which = f" of version {asked.version}" if asked.version else ""
        return ObjectMissing(f"{location.text}: S3 has no such object{which} ({code}). It was deleted, or never there.")
    if code in CHANGED or code in EMPTY:
        return ObjectReplaced(
            f"{location.text}: the object is no longer the one that was asked for ({code}): it has been replaced, which brings an event of its own."
        )
    if code in DENIED:
        return ObjectDenied(_denied(asked))
    return ObjectDenied(f"{location.text}: S3 refuses {asked.action} with {code} ({status}): {message}")


def _denied(asked: Asked) -> str:
    if asked.action in ("s3:GetObject", "s3:ListBucket"):
        return denied(asked.location, asked.action)
    with_key = (
        " and kms:GenerateDataKey where the bucket encrypts with a KMS key" if asked.action == "s3:PutObject" else ""
    )
    return (
        f"{asked.location.text}: S3 denies access. The function's role needs {asked.action} on "
        f"arn:aws:s3:::{asked.bucket}/{asked.key} (or a prefix of it){with_key}, and no policy may deny it."
    )


def _answered(asked: Asked, error: ClientError) -> ObjectError:
    response = error.response
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return refusal(asked, error_code(error), status, str(response.get("Error", {}).get("Message", "")))


def _no_answer(asked: Asked, error: Exception) -> ObjectError:
    reason = str(error).rstrip(".")
    if "maximum recursion depth" in reason:  # from Python 3.12 on, botocore itself catches what is caught above
        return ObjectDenied(redirected(asked.location))
    if type(error).__name__ in _NOT_ASKED:
        return ObjectDenied(
            f"{asked.location.text}: S3 cannot be asked: {reason}. Check the function's role, region, and the key."
        )
    return ObjectUnavailable(
        f"{asked.location.text}: S3 cannot be reached, or its answer was not whole: {reason}. "
        "Check the function's network (a VPC needs an S3 gateway endpoint), or try again."
    )


def _unanswered() -> tuple[type[Exception], ...]:
    """What is raised without an answer that can be read: botocore's errors, its parser's, and urllib3's own."""
    from botocore.parsers import ResponseParserError  # lazy: only where something has been raised
    from urllib3.exceptions import HTTPError

    return (unanswered_error(), ResponseParserError, HTTPError)
