"""Every error this project raises, in one tree. This module imports nothing.

GluonLambdaError
├── ConfigurationError            an environment variable: names it, its value and the accepted form
├── LoadError                     a model cannot be served: names archive, file and key
│   ├── ArchiveError
│   │   ├── ArchiveNotFound       nothing lies at the location
│   │   ├── ArchiveCorrupt        truncated, garbled, not an archive
│   │   ├── ArchiveRejected       checksum, path, link, duplicate name, size or ratio
│   │   ├── ManifestInvalid       a part of the manifest is missing or malformed
│   │   ├── SignatureInvalid      a part of signature.json is missing or malformed
│   │   └── ParametersMismatch    the params file does not fit the symbol
│   ├── StoreUnavailable          access denied, throttled, unreachable
│   ├── ServiceLoadError          entry point missing or ambiguous, or its initialisation raised
│   └── EngineUnavailable         libmxnet absent, or a shared library that it needs
├── RequestError                  the client's fault
│   ├── MalformedBody             a body that does not parse as what it says it is
│   ├── InputMismatch             a body that parses, but is not what the model takes
│   ├── RouteNotFound             no such path
│   ├── ModelNotFound             no such model, or no such version of it
│   ├── MethodNotAllowed          the path exists, the method does not
│   ├── PayloadTooLarge           more bytes than are accepted
│   └── UnsupportedMediaType      a content type that the model does not take
├── InferenceError                service or engine raised during an invocation
│   └── OutOfMemory               the engine or the service ran out of memory
├── ObjectError                   an object of a batch: names bucket and key
│   ├── ObjectMissing             it, or its bucket, is not there
│   │   └── BucketMissing         its bucket is not
│   ├── ObjectReplaced            it is no longer the one that the event tells of
│   ├── ObjectRefused             access denied, or it is of no type that is read, or not what its type says
│   │   └── ObjectDenied          S3 does not give it, or does not take it: access denied, archived, an invalid request
│   └── ObjectUnavailable         S3 throttles, fails or cannot be reached: to be tried again
├── BatchIncomplete               objects of a batch are left, and the trigger is told so by an error only
├── ResponseTooLarge              over the event source's limit
├── DeadlineExceeded              stopped before Lambda would have killed it
└── UnsupportedEvent              no event source matches

The class name is the stable code: a direct invoke raises the error, awslambdaric reports the class name as ``errorType``, and Step Functions
matches it in Retry and Catch. HTTP statuses stand in one table, ``http_app/error_table.py``.
"""

_LONGEST_MESSAGE = 2000


class GluonLambdaError(Exception):
    """Base of every error that this project raises on purpose. Its text is written for the person who has to act on it.

    Messages quote what came, and a client may have called an input by a name of megabytes: a longer text loses its middle, or the error
    itself would be over Lambda's limit. Half of a surrogate pair, which no UTF-8 can hold, becomes an escape.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(_shortened(message).encode(errors="backslashreplace").decode())


class ConfigurationError(GluonLambdaError):
    """Raised when an environment variable has a value that is not accepted."""


class LoadError(GluonLambdaError):
    """Raised when a model cannot be served."""


class ArchiveError(LoadError):
    """Raised when a model archive is at fault."""


class ArchiveNotFound(ArchiveError):
    """Raised when nothing lies at an archive's location."""


class ArchiveCorrupt(ArchiveError):
    """Raised when an archive is truncated, garbled or no archive at all."""


class ArchiveRejected(ArchiveError):
    """Raised when an archive is not trusted: checksum, path, link, duplicate name, size or ratio."""


class ManifestInvalid(ArchiveError):
    """Raised when a part of the manifest is missing or malformed."""


class SignatureInvalid(ArchiveError):
    """Raised when a part of ``signature.json`` is missing or malformed."""


class ParametersMismatch(ArchiveError):
    """Raised when the params file does not fit the symbol: missing, extra or misshapen entries, named."""


class StoreUnavailable(LoadError):
    """Raised when the archive store denies access, throttles or cannot be reached."""


class ServiceLoadError(LoadError):
    """Raised when an archive's entry point is missing or ambiguous, or its initialisation raised."""


class EngineUnavailable(LoadError):
    """Raised when libmxnet, or a shared library that it needs, is absent."""


class RequestError(GluonLambdaError):
    """Raised when the client is at fault."""


class MalformedBody(RequestError):
    """Raised when a body does not parse as what it says it is."""


class InputMismatch(RequestError):
    """Raised when a body parses but is not what the model takes; names the input, what came and what is expected.

    Attributes:
        phase: The service's phase that refused it, when a service did.
    """

    def __init__(self, message: str, *, phase: str | None = None) -> None:
        super().__init__(message)
        self.phase = phase


class RouteNotFound(RequestError):
    """Raised when no route has the path."""


class ModelNotFound(RequestError):
    """Raised when no model, or no such version of it, has the name."""


class MethodNotAllowed(RequestError):
    """Raised when the path exists but not with this method.

    Attributes:
        allowed: The methods that the path takes, for the ``Allow`` header.
    """

    def __init__(self, message: str, *, allowed: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.allowed = allowed


class PayloadTooLarge(RequestError):
    """Raised when a request holds more bytes than are accepted."""


class UnsupportedMediaType(RequestError):
    """Raised when the model does not take the request's content type."""


class InferenceError(GluonLambdaError):
    """Raised when a service or the engine raises during an invocation.

    Attributes:
        phase: ``preprocess``, ``inference``, ``postprocess`` or ``handle``, where it is known.
        status: The HTTP status that the service asked for (MMS's PredictionException), or None for the table's.
    """

    def __init__(self, message: str, *, phase: str | None = None, status: int | None = None) -> None:
        super().__init__(message)
        self.phase = phase
        self.status = status


class OutOfMemory(InferenceError):
    """Raised when the engine or the service ran out of memory; MMS answers 507."""


# MXNet has no exception of its own for it: its allocator, C++'s, and oneDNN's.
_OUT_OF_MEMORY = ("Failed to allocate", "bad_alloc", "Memory allocation failed", "out of memory", "memory_allocation")


def tells_of_memory(message: str) -> bool:
    """Whether this message of MXNet's says that memory ran out."""
    return any(words in message for words in _OUT_OF_MEMORY)


class ObjectError(GluonLambdaError):
    """Raised when an object of a batch cannot be read or written; names bucket and key."""


class ObjectMissing(ObjectError):
    """Raised when an object, or its bucket, is not there."""


class BucketMissing(ObjectMissing):
    """Raised when an object's bucket is not there: nobody has deleted the object, its name is wrong."""


class ObjectReplaced(ObjectError):
    """Raised when an object is no longer the one that the event tells of."""


class ObjectRefused(ObjectError):
    """Raised when access is denied, or an object is of no type that is read, or is not what its type says."""


class ObjectDenied(ObjectRefused):
    """Raised when S3 itself refuses: with another policy, or once the object is restored, the same may succeed, whatever is in it."""


class ObjectUnavailable(ObjectError):
    """Raised when S3 throttles, fails or cannot be reached, after retries: to be tried again."""


class BatchIncomplete(GluonLambdaError):
    """Raised when objects of a batch are left, or parts of its event are not understood: to be tried again, or to be looked at."""


class ResponseTooLarge(GluonLambdaError):
    """Raised when a response exceeds its event source's limit; names size and limit in bytes."""


class DeadlineExceeded(GluonLambdaError):
    """Raised when an invocation is stopped before Lambda would have killed it."""


class UnsupportedEvent(GluonLambdaError):
    """Raised when no event source matches; lists the known ones."""


def _shortened(message: str) -> str:
    if len(message) <= _LONGEST_MESSAGE:
        return message
    half = _LONGEST_MESSAGE // 2
    return f"{message[:half]} … [{len(message) - 2 * half:,} characters] … {message[-half:]}"
