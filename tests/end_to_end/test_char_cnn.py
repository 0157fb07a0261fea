"""The review classifier over HTTP, as MMS's clients ask it: one net as an MMS 0.4 service and as a native one."""

from __future__ import annotations

import json
import zipfile
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest

from archives.char_cnn.build import held_out_reviews
from archives.char_cnn.char_cnn_native import quantize
from archives.char_cnn.corpus import Review, category_names, read_grammar
from tests.end_to_end.endpoint import Answer, Endpoint, form
from tests.examples.conftest import built

SAMPLE = slice(0, None, 10)
TOLERANCE = 1e-4


class Served(NamedTuple):
    """A sampled review and both services' answers."""

    review: Review
    mms: Answer
    native: Answer


def literal(review: Review) -> str:
    """The form field as MMS 0.4's clients write it: a Python literal."""
    return repr([{"review_title": review.title, "review": review.text}])


@pytest.fixture(scope="module")
def grammar() -> dict[str, Any]:
    return read_grammar()


@pytest.fixture(scope="module")
def served(examples: Endpoint, grammar: dict[str, Any]) -> list[Served]:
    def ask(model: str, review: Review) -> Answer:
        headers, body = form("data", literal(review).encode())
        return examples.ask("POST", f"/{model}/predict", body, headers)

    sample = held_out_reviews(grammar)[SAMPLE]
    return [Served(review, ask("char_cnn", review), ask("char_cnn_native", review)) for review in sample]


def test_both_services_name_the_same_category_and_mostly_the_right_one(
    served: list[Served], grammar: dict[str, Any]
) -> None:
    names, right = category_names(grammar), 0
    for review, mms, native in served:
        assert (mms.status, native.status) == (200, 200)
        (one,), (other,) = mms.json["prediction"], native.json
        assert one["category"] == other["category"]
        assert one["probability"] == pytest.approx(other["probability"], abs=TOLERANCE)
        right += one["category"] == names[review.category]
    assert len(served) == 21
    assert right / len(served) >= 0.7


def test_the_mms_answer_is_that_of_the_block_run_directly(
    served: list[Served], grammar: dict[str, Any], mx: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from archives.char_cnn.char_cnn_service import Crepe

    with zipfile.ZipFile(built("char_cnn", "char_cnn.model")) as archive:
        parameters = archive.extract("char_cnn.params", tmp_path_factory.mktemp("char_cnn"))
    block = Crepe()
    block.load_parameters(parameters)
    for review, answer, _ in served[::4]:
        _holds_against(answer.json["prediction"], block, review, category_names(grammar), mx)


def test_the_native_answer_is_that_of_the_exported_block_run_directly(
    served: list[Served], grammar: dict[str, Any], mx: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("char_cnn_native")
    with zipfile.ZipFile(built("char_cnn", "char_cnn_native.mar")) as archive:
        archive.extractall(folder)
    (symbol,), (parameters,) = folder.glob("*-symbol.json"), folder.glob("*.params")
    block = mx.gluon.SymbolBlock.imports(str(symbol), ["data"], str(parameters))
    for review, _, answer in served[::4]:
        _holds_against(answer.json, block, review, category_names(grammar), mx)


def _holds_against(served: Any, block: Any, review: Review, names: list[str], mx: Any) -> None:
    encoded = quantize(f"{review.title} | {review.text}")[None]
    direct = block(mx.nd.array(encoded)).softmax().asnumpy()[0]
    assert served[0]["category"] == names[int(direct.argmax())]
    assert served[0]["probability"] == pytest.approx(float(direct.max()), abs=TOLERANCE)


@pytest.mark.parametrize("model", ["char_cnn", "char_cnn_native"])
def test_the_same_field_urlencoded_or_in_json_is_answered_the_same(
    examples: Endpoint, served: list[Served], model: str
) -> None:
    review, mms, native = served[0]
    value = [{"review_title": review.title, "review": review.text}]
    urlencoded = urlencode({"data": literal(review)}).encode()
    in_json = json.dumps({"data": value}).encode()
    for content_type, body in (("application/x-www-form-urlencoded", urlencoded), ("application/json", in_json)):
        answer = examples.ask("POST", f"/{model}/predict", body, {"Content-Type": content_type})
        assert answer.json == (mms if model == "char_cnn" else native).json


@pytest.mark.parametrize("model", ["char_cnn", "char_cnn_native"])
def test_a_field_that_holds_no_review_is_400_in_the_preprocess_phase(examples: Endpoint, model: str) -> None:
    headers, body = form("data", b"[{'review_title': 'no text'}]")
    answer = examples.ask("POST", f"/{model}/predict", body, headers)
    assert (answer.status, answer.json["phase"]) == (400, "preprocess")
