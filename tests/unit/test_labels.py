from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gluon_lambda.archive_store.signature import OutputDeclaration
from gluon_lambda.errors import SignatureInvalid
from gluon_lambda.services.labels import AnswerSteps, answer, best, check_labels, parse_steps, softmax

NAMES = ("ant", "bee", "cat", "dog", "eel", "fox")


def parsed(**postprocess: Any) -> AnswerSteps:
    return parse_steps(OutputDeclaration("out", (0, 6), "float32", postprocess), lambda file: NAMES, where="here")


def test_softmax_sums_to_one_and_stands_large_values() -> None:
    values = np.array([[1000.0, 1001.0], [-1000.0, -1000.0]], np.float32)

    assert softmax(values) == pytest.approx(np.array([[0.26894142, 0.73105858], [0.5, 0.5]]))


def test_the_best_come_first_and_the_earlier_class_in_a_tie() -> None:
    found = best(np.array([0.1, 0.4, 0.4, 0.0, 0.1, 0.0]), AnswerSteps("out", top_k=3, labels=NAMES))

    assert found == [
        {"class": "bee", "probability": 0.4},
        {"class": "cat", "probability": 0.4},
        {"class": "ant", "probability": 0.1},
    ]
    assert all(type(each["probability"]) is float for each in found)


def test_ties_among_many_classes_keep_their_order() -> None:
    found = best(np.full(1000, 0.001), AnswerSteps("out", top_k=5))

    assert [each["class"] for each in found] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("size", [2, 40, 700])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int32"])
def test_the_best_of_many_are_the_first_of_all_sorted(size: int, dtype: str) -> None:
    chance = np.random.default_rng(size)
    for _ in range(50):
        values = chance.integers(-size, size, size).astype(dtype)
        if values.dtype.kind == "f":
            values[chance.integers(0, size, 2)] = chance.choice([np.nan, np.inf, -np.inf], 2)
        found = [each["class"] for each in best(values, AnswerSteps("out", top_k=4))]
        assert found == np.argsort(-values, kind="stable")[:4].tolist()


@pytest.mark.parametrize("values", [np.array([3, 0, 255], np.uint8), np.array([True, False, True])])
def test_whole_numbers_without_a_sign_are_in_order_too(values: Any) -> None:
    assert [each["class"] for each in best(values, AnswerSteps("out", top_k=3))] in ([2, 0, 1], [0, 2, 1])


def test_classes_without_labels_go_by_their_number() -> None:
    assert best(np.array([0.0, 1.0]), AnswerSteps("out", top_k=1)) == [{"class": 1, "probability": 1.0}]


def test_more_labels_than_classes_are_asked_for_gives_all_classes() -> None:
    assert len(best(np.array([0.0, 1.0]), AnswerSteps("out", top_k=9, labels=NAMES))) == 2


def test_a_single_example_has_no_batch_axis_and_a_batch_has() -> None:
    output = np.array([[1.0, 2.0]])

    assert answer([output], (AnswerSteps("out"),), None).tolist() == [1.0, 2.0]
    assert answer([output], (AnswerSteps("out"),), 1).tolist() == [[1.0, 2.0]]
    assert answer([output], (AnswerSteps("out", top_k=1),), None) == [{"class": 1, "probability": 2.0}]
    assert answer([output], (AnswerSteps("out", top_k=1),), 1) == [[{"class": 1, "probability": 2.0}]]


def test_an_output_without_a_batch_axis_stays_as_it_is() -> None:
    assert answer([np.array(3.0)], (AnswerSteps("out"),), None).tolist() == 3.0
    assert answer([np.array([3.0, 4.0])], (AnswerSteps("out"),), None).tolist() == [3.0, 4.0]


def test_several_outputs_are_named() -> None:
    outputs = [np.array([[1.0]]), np.array([[0.0, 1.0]])]
    steps = (AnswerSteps("size"), AnswerSteps("kind", top_k=1, labels=NAMES))

    given = answer(outputs, steps, None)

    assert given["size"].tolist() == [1.0]
    assert given["kind"] == [{"class": "bee", "probability": 1.0}]


def test_outputs_of_more_dimensions_are_one_list_of_classes() -> None:
    assert answer([np.array([[[0.0]], [[1.0]]])[None]], (AnswerSteps("out", top_k=1),), None)[0]["class"] == 1


def test_labels_without_a_number_answer_five_as_mms_does() -> None:
    assert parsed(labels="synset.txt") == AnswerSteps("out", top_k=5, labels=NAMES)
    assert parsed() == AnswerSteps("out")
    assert parsed(softmax=True, top_k=2) == AnswerSteps("out", softmax=True, top_k=2)


@pytest.mark.parametrize(
    ("message", "postprocess"),
    [
        ("postprocess has no 'topk'. Known: labels, softmax, top_k", {"topk": 5}),
        ("softmax is 1", {"softmax": 1}),
        ("labels is 7", {"labels": 7}),
        ("top_k is 0", {"labels": "synset.txt", "top_k": 0}),
        ("top_k is '5'", {"top_k": "5"}),
        ("top_k is True", {"top_k": True}),
        ("top_k is -1", {"top_k": -1}),
    ],
)
def test_a_wrong_step_is_refused(message: str, postprocess: dict[str, Any]) -> None:
    with pytest.raises(SignatureInvalid) as refused:
        parsed(**postprocess)

    assert message in str(refused.value)
    assert "output 'out'" in str(refused.value)


def test_fewer_labels_than_classes_are_refused() -> None:
    steps = AnswerSteps("out", top_k=1, labels=NAMES)

    check_labels(steps, 6, where="here")
    check_labels(steps, 5, where="here")
    check_labels(AnswerSteps("out", top_k=1), 7, where="here")
    with pytest.raises(SignatureInvalid, match="'out' has 7 values an example, and its labels are only 6"):
        check_labels(steps, 7, where="here")
