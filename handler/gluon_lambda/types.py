"""The records and protocols that every package shares. A leaf: it imports nothing of ours.

Records are NamedTuples: immutable, and the cheapest class there is to define on the cold path.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

# The raw dict that Lambda hands over, and the dict that goes back. Only event_sources/ and the Mangum adapter look inside.
Event = dict[str, Any]

Pairs = tuple[tuple[str, str], ...]


class LambdaContext(Protocol):
    """What is used of awslambdaric's context object."""

    aws_request_id: str

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until Lambda kills the invocation."""
        ...


class Request(NamedTuple):
    """One HTTP request, whichever event source it came by.

    Attributes:
        method: Upper case.
        path: Percent-decoded, without stage prefix or query; starts with ``/``.
        query: Decoded name and value pairs in order, repeats kept.
        headers: Name (lower case) and value pairs in order, repeats kept; cookies are one ``cookie`` header.
        body: Decoded bytes.
        request_id: Lambda's id of the invocation.
        remaining_ms: Milliseconds that are left of the invocation, asked anew at each call.
    """

    method: str
    path: str
    query: Pairs
    headers: Pairs
    body: bytes
    request_id: str
    remaining_ms: Callable[[], int]

    def header(self, name: str, default: str = "") -> str:
        """The first value of header ``name`` (lower case), or ``default``."""
        return next((value for key, value in self.headers if key == name), default)


class Response(NamedTuple):
    """One HTTP response, before an event source turns it into its own dict.

    Attributes:
        status: HTTP status code.
        headers: Name (lower case) and value pairs in order, repeats kept (``set-cookie``).
        body: Bytes; the event source decides whether they travel as text or base64.
    """

    status: int
    headers: Pairs
    body: bytes


class DirectCall(NamedTuple):
    """A direct invoke: no HTTP envelope; the prediction itself goes back and errors are raised.

    Attributes:
        model: The model's name, or None for the only one.
        inputs: A JSON value: the inputs by name, or the one input's value.
    """

    model: str | None
    inputs: Any


class Part(NamedTuple):
    """One named input of a request.

    Attributes:
        name: Form field, file part or query name; ``body`` for a raw or JSON body.
        value: Bytes as they came; or, for a direct invoke, the JSON value itself.
        content_type: Lower case, without parameters; ``""`` where none was given.
        filename: The file part's file name, if any.
    """

    name: str
    value: Any
    content_type: str = ""
    filename: str | None = None


class Payload(NamedTuple):
    """What a model is asked: the parts of one request, in order of arrival.

    Attributes:
        parts: The inputs; MMS: for a repeated name the last one wins in 1.x, the first in 0.4.
        headers: The request's headers (names lower case), for services that look at them; empty for direct invokes.
        request_id: Lambda's id of the invocation.
    """

    parts: tuple[Part, ...]
    headers: Pairs = ()
    request_id: str = ""


class Prediction(NamedTuple):
    """What a service answers.

    Attributes:
        value: A JSON-able value (NumPy scalars and arrays included), or ``bytes``/``str`` to be sent as they are when ``raw``.
        raw: True where ``value`` is bytes or str that goes out without JSON encoding.
        content_type: Where the service set one; otherwise it follows from ``value``.
        status: HTTP status code.
        headers: Name and value pairs that the service set.
        phases: Phase name (``preprocess``, ``inference``, ``postprocess``, ``handle``) and its milliseconds.
        metrics: Name, value, unit (CloudWatch's name) and dimensions of what the service counted itself.
    """

    value: Any
    raw: bool = False
    content_type: str = ""
    status: int = 200
    headers: Pairs = ()
    phases: tuple[tuple[str, float], ...] = ()
    metrics: tuple[tuple[str, float, str, Pairs], ...] = ()


class TensorSpec(NamedTuple):
    """One input or output of a net.

    Attributes:
        name: As the symbol names it.
        shape: One entry a dimension; 0 where any size goes (the batch dimension, most often).
        dtype: NumPy's name: ``float32``, ``int64``, …
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"


class NetOptions(NamedTuple):
    """How a net is made ready.

    Attributes:
        fuse: Whether convolution, batch norm and activation become one operator; changes the last bits (1e-6, relative).
        static_alloc: Whether the net keeps the memory of its intermediate arrays between requests.
        static_shape: Whether what depends on shapes only is worked out once; needs ``static_alloc``.
    """

    fuse: bool = True
    static_alloc: bool = True
    static_shape: bool = True


class Predictor(Protocol):
    """A loaded net: arrays in, arrays out."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What the net takes, in the symbol's order."""
        ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What the net gives for the smallest batch that it takes; empty where that cannot be told before a request comes."""
        ...

    def predict(self, arrays: Mapping[str, Array]) -> list[Array]:
        """Run the net once.

        Args:
            arrays: One array for each input, by name; each shape as the spec says, 0 matching any size.

        Returns:
            The net's outputs in order, as arrays of their own (never views of the engine's memory).

        Raises:
            InputMismatch: An input is missing, unknown, or has a shape or dtype that the net does not take.
            InferenceError: The engine failed; carries its message.
        """
        ...

    def close(self) -> None:
        """Give the engine's memory back. The predictor is not used afterwards."""
        ...


class PredictorFactory(Protocol):
    """Builds a predictor from an exported net; the seam between services and runtime."""

    def __call__(
        self, *, name: str, symbol: bytes, params: bytes | memoryview, inputs: Sequence[TensorSpec]
    ) -> Predictor:
        """Build it.

        Args:
            name: What to call the net in errors (archive and file).
            symbol: The ``*-symbol.json`` file's bytes.
            params: The ``*.params`` file's bytes.
            inputs: The inputs as the signature declares them.

        Raises:
            ParametersMismatch: The params do not fit the symbol, or the inputs are not the symbol's.
            ArchiveCorrupt: Symbol or params do not parse.
            SignatureInvalid: The net fails on zeros of the declared shapes.
            EngineUnavailable: There is no libmxnet.
        """
        ...


class Service(Protocol):
    """A loaded model as http_app and batch see it; one class for each contract stands in services/."""

    def predict(self, payload: Payload) -> Prediction:
        """Answer one request.

        Raises:
            RequestError: The client is at fault.
            InferenceError: The service or the engine is.
        """
        ...

    def close(self) -> None:
        """Release what the model holds: engine memory, its modules, its temporary files."""
        ...
