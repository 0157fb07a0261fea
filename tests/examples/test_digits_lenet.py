"""The digit reader: real handwriting, posted as PNGs, answered by the built-in image service."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from archives.digits_lenet.digits import PICTURE_SIZE, Digit, picture, split
from gluon_lambda.errors import RequestError
from gluon_lambda.services.image_steps import parse_steps
from gluon_lambda.services.images import image_array
from gluon_lambda.types import Part, Payload, Service
from tests.examples.conftest import ROOT, Example, built

PICTURES = ROOT / "build" / "data" / "digits_test"
SAMPLE = ROOT / "archives" / "digits_lenet" / "sample.png"
FLOOR = 0.97


@pytest.fixture(scope="module")
def digits(serve: Callable[[str, str], Example]) -> Example:
    return serve("digits_lenet", "digits_lenet.model")


def ask(service: Service, png: bytes) -> list[dict[str, Any]]:
    """The answer to a PNG sent as a form's file ``data``."""
    answer = service.predict(Payload((Part("data", png, "image/png", "digit.png"),)))
    predictions: list[dict[str, Any]] = answer.value["prediction"]
    return predictions


def labelled_pictures() -> list[tuple[Path, str]]:
    built("digits_lenet", "digits_lenet.model")
    with (PICTURES / "labels.csv").open() as lines:
        return [(PICTURES / row["file"], row["label"]) for row in csv.DictReader(lines)]


def test_at_least_97_percent_of_the_held_out_pictures_are_read_rightly(digits: Example) -> None:
    pictures = labelled_pictures()
    right = sum(ask(digits.service, path.read_bytes())[0]["class"] == label for path, label in pictures)
    assert len(pictures) == 360
    assert right / len(pictures) >= FLOOR


def test_the_sample_is_read_as_a_three_with_falling_probabilities(digits: Example) -> None:
    answer = ask(digits.service, SAMPLE.read_bytes())
    probabilities = [each["probability"] for each in answer]
    assert answer[0]["class"] == "3"
    assert len(answer) == 3
    assert probabilities == sorted(probabilities, reverse=True)


def test_the_served_prediction_is_that_of_the_block_run_directly(digits: Example, mx: Any) -> None:
    archive, folder = digits.archive, Path(digits.archive.folder())
    assert archive.signature is not None
    block = mx.gluon.SymbolBlock.imports(
        str(folder / archive.manifest.symbol), ["data"], str(folder / archive.manifest.parameters)
    )
    steps = parse_steps(archive.signature.inputs[0], where="digits_lenet")
    for path, _ in labelled_pictures()[:20]:
        direct = block(mx.nd.array(image_array(path.read_bytes(), steps))).softmax().asnumpy()[0]
        answer = ask(digits.service, path.read_bytes())
        assert [each["class"] for each in answer] == [str(each) for each in direct.argsort()[::-1][:3]]
        np.testing.assert_allclose(
            [each["probability"] for each in answer], np.sort(direct)[::-1][:3], rtol=1e-3, atol=1e-6
        )


def test_the_archive_holds_no_code(digits: Example) -> None:
    assert digits.archive.manifest.service == ""
    assert not [member for member in digits.archive.members if member.endswith(".py")]


@pytest.mark.parametrize("broken", [SAMPLE.read_bytes()[:-40], b"", b"three"], ids=["truncated", "empty", "text"])
def test_what_is_no_whole_image_is_the_clients_fault(digits: Example, broken: bytes) -> None:
    with pytest.raises(RequestError):
        ask(digits.service, broken)


def test_a_larger_picture_in_colour_is_read_the_same(digits: Example) -> None:
    from io import BytesIO

    from PIL import Image

    enlarged = BytesIO()
    Image.open(SAMPLE).convert("RGB").resize((400, 400)).save(enlarged, "JPEG")
    assert ask(digits.service, enlarged.getvalue())[0]["class"] == "3"


def test_a_picture_is_dark_ink_on_white_paper() -> None:
    from io import BytesIO

    from PIL import Image

    corner = np.zeros((8, 8), dtype=np.uint8)
    corner[:4, :4] = 16
    pixels = np.asarray(Image.open(BytesIO(picture(Digit(corner, 0)))))
    assert pixels.shape == (PICTURE_SIZE, PICTURE_SIZE)
    assert pixels[10, 10] == 0
    assert pixels[-10, -10] == 255


def test_the_split_is_always_the_same_and_no_digit_is_on_both_sides() -> None:
    numbered = [Digit(np.full((8, 8), index, dtype=np.uint16), 0) for index in range(1797)]
    learnt, held_out = split(numbered)
    numbers = [[int(digit.pixels[0, 0]) for digit in side] for side in (learnt, held_out)]
    assert sorted(numbers[0] + numbers[1]) == list(range(1797))
    assert len(numbers[1]) == 360
    assert numbers[1] == [int(digit.pixels[0, 0]) for digit in split(numbered)[1]]
