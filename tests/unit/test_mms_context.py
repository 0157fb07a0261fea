"""``mms.context`` and ``mms.service``: the union of three generations of one interface."""

from __future__ import annotations

from typing import Any

import pytest

from mms.context import Context, RequestProcessor, RequestProcessors
from mms.service import PredictionException, Service


def context(handler: Any = lambda _data, _context: []) -> Context:
    """A context in the middle of a batch of two."""
    service = Service("name", "/folder", {"a": 1}, handler, None, 2)
    service.predict(
        [
            {
                "requestId": request_id.encode(),
                "parameters": [{"name": "body", "value": request_id, "contentType": "text/plain"}],
                "headers": [{"name": b"accept", "value": request_id.encode()}],
            }
            for request_id in ("r0", "r1")
        ]
    )
    return service.context


def test_a_request_is_named_by_index_or_by_id() -> None:
    it = context()
    assert [it.get_request_header(key, "accept") for key in (0, 1, "r0", "r1")] == ["r0", "r1", "r0", "r1"]
    it.set_response_content_type("r1", "text/csv")
    assert [it.get_response_content_type(key) for key in (0, 1)] == [None, "text/csv"]
    it.set_response_status(404, "gone", "r1")
    assert [it.get_response_status(key) for key in (0, 1)] == [(200, None), (404, "gone")]
    assert it.get_http_response_status("r1") == (404, "gone")


@pytest.mark.parametrize("key", ["r2", 2])
def test_a_request_that_is_not_there_is_an_error(key: Any) -> None:
    with pytest.raises(LookupError):
        context().get_response_status(key)


def test_the_list_of_processors_answers_as_the_first_of_them() -> None:
    processors = RequestProcessors([RequestProcessor({"a": "1"}), RequestProcessor({"a": "2"})], {0: "r0", 1: "r1"})
    processors.report_status(500, "broken")
    assert [each.get_response_status_code() for each in processors] == [500, 200]
    assert processors.get_request_property("a") == "1"
    assert processors.get_request_property("r1") == {"a": "2"}
    assert len(processors) == 2


def test_an_attribute_that_no_generation_had_is_still_an_error() -> None:
    with pytest.raises(AttributeError, match="report_statuses"):
        context().request_processor.report_statuses()
    with pytest.raises(AttributeError):
        RequestProcessors([], {}).report_status(500)


def test_headers_are_found_whatever_their_case_and_parts_beside_them() -> None:
    it = context()
    assert it.get_request_header(0, "Accept") == "r0"
    assert it.get_request_header(0, "missing") is None
    assert it.get_all_request_header(1) == {"body": {"content-type": "text/plain"}, "accept": "r1"}


def test_setting_a_status_while_the_model_is_loaded_does_nothing() -> None:
    it = Context("name", "/folder", {}, 1, None, "1")
    it.set_response_status(500)
    it.set_all_response_status(500)
    it.set_response_content_type(0, "text/csv")
    assert it.get_request_id() is None


def test_a_prediction_exception_has_message_and_code() -> None:
    error = PredictionException("too dark", 422)
    assert (error.message, error.error_code, str(error)) == ("too dark", 422, "too dark : 422")
    assert PredictionException("x").error_code == 500
