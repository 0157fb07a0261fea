"""``mms.context``: what an MMS 1.x handler is told about its model and its request (1.1: mms/context.py).

Three generations of this interface were released and archives for each exist, so this is their union: ``request_processor`` is a list
with one entry a request (1.0.5 and later) that also answers as the single object of before; wherever a request is named, both its index
in the batch and its id will do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, SupportsIndex


class RequestProcessor:
    """The headers of one request, and the status and headers of its response.

    Args:
        request_header: The request's headers, and for each of its parts ``{name: {"content-type": …}}``.
    """

    def __init__(self, request_header: Mapping[str, Any]) -> None:
        self._request_header = dict(request_header)
        self._status_code = 200
        self._reason_phrase: str | None = None
        self._response_header: dict[str, str] = {}

    def get_request_property(self, key: str) -> Any:
        """A header by its name, in whichever case it came: API Gateway makes all of them lower case."""
        found = self._request_header.get(key)
        return self._request_header.get(key.lower()) if found is None else found

    def get_request_properties(self) -> dict[str, Any]:
        """All of the request's headers."""
        return self._request_header

    def report_status(self, code: int, reason_phrase: str | None = None) -> None:
        """Set the response's status."""
        self._status_code = code
        self._reason_phrase = reason_phrase

    def get_response_status_code(self) -> int:
        """The response's status."""
        return self._status_code

    def get_response_status_phrase(self) -> str | None:
        """The response's reason phrase."""
        return self._reason_phrase

    def add_response_property(self, key: str, value: str) -> None:
        """Set a header of the response."""
        self._response_header[key] = value

    def get_response_headers(self) -> dict[str, str]:
        """The response's headers."""
        return self._response_header

    # The name up to 1.0.4.
    get_response_header = get_response_headers


class RequestProcessors(list[RequestProcessor]):
    """One processor a request, found by index or request id; asked as if it were one, it answers with the first.

    MMS's own templates call ``context.request_processor.report_status(…)``, which 1.0.5's plain list refused.

    Args:
        processors: One for each request.
        request_ids: The requests' ids, by index.
    """

    def __init__(self, processors: Iterable[RequestProcessor], request_ids: Mapping[int, str]) -> None:
        super().__init__(processors)
        self._indices: dict[Any, int] = {request_id: index for index, request_id in request_ids.items()}

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(self._indices[key] if isinstance(key, str) else key)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or not len(self):
            raise AttributeError(name)
        return getattr(self[0], name)

    def get_request_property(self, key: str) -> Any:
        """Up to 1.0.4: all headers of the request with this id; otherwise a header of the first request."""
        if key in self._indices:
            return self[key].get_request_properties()
        return self[0].get_request_property(key)


class Context:
    """A handler's second argument.

    Args:
        model_name: The manifest's.
        model_dir: Absolute path of the archive's content.
        manifest: The manifest as parsed.
        batch_size: The most requests that one call brings.
        gpu: Always None: there is no GPU in Lambda.
        mms_version: The release of MMS whose contract is kept.
    """

    def __init__(
        self, model_name: str, model_dir: str, manifest: Any, batch_size: int, gpu: int | None, mms_version: str
    ) -> None:
        self.model_name = model_name
        self.manifest = manifest
        self.system_properties = {
            "model_dir": model_dir,
            "gpu_id": gpu,
            "batch_size": batch_size,
            "server_name": "MMS",
            "server_version": mms_version,
        }
        self.request_ids: dict[int, str] | None = None
        self.request_processor: Any = None
        self.metrics: Any = None

    def get_request_id(self, idx: SupportsIndex = 0) -> str | None:
        """The request's id."""
        return (self.request_ids or {}).get(int(idx))

    def get_request_header(self, idx: Any, key: str) -> Any:
        """One header of a request."""
        return self.request_processor[idx].get_request_property(key)

    def get_all_request_header(self, idx: Any) -> Any:
        """All headers of a request."""
        return self.request_processor[idx].get_request_properties()

    def set_response_content_type(self, idx: Any, value: str) -> None:
        """Set the response's content type."""
        self.set_response_header(idx, "content-type", value)

    def get_response_content_type(self, idx: Any) -> Any:
        """The response's content type, or None."""
        return self.get_response_headers(idx).get("content-type")

    def set_response_status(self, code: int = 200, phrase: str = "", idx: Any = 0) -> None:
        """Set the response's status; nothing happens while the model is loaded."""
        if self.request_processor:
            self.request_processor[idx].report_status(code, reason_phrase=phrase)

    def set_all_response_status(self, code: int = 200, phrase: str = "") -> None:
        """Set the status of every response of the batch."""
        for processor in self.request_processor or ():
            processor.report_status(code, reason_phrase=phrase)

    def get_response_status(self, idx: Any) -> tuple[int, str | None]:
        """The response's status and reason phrase."""
        processor = self.request_processor[idx]
        return processor.get_response_status_code(), processor.get_response_status_phrase()

    def set_response_header(self, idx: Any, key: str, value: str) -> None:
        """Set one header of the response."""
        if self.request_processor:
            self.request_processor[idx].add_response_property(key, value)

    def get_response_headers(self, idx: Any) -> Any:
        """The response's headers."""
        return self.request_processor[idx].get_response_headers()

    # The names up to 1.0.8.
    get_http_response_status = get_response_status
    set_http_response_status = set_response_status

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Context) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment] # as in MMS: it compares by content and changes with each request
