"""The digit reader over HTTP: real handwriting in, numerals out, by the same net as Gluon runs it."""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.end_to_end.endpoint import ROOT, Answer, Endpoint, ask, form
from tests.examples.conftest import built

PICTURES = ROOT / "build" / "data" / "digits_test"
FLOOR = 0.97


def held_out() -> list[tuple[Path, str]]:
    with (PICTURES / "labels.csv").open() as lines:
        return [(PICTURES / row["file"], row["label"]) for row in csv.DictReader(lines)]


def upload(path: Path) -> tuple[dict[str, str], bytes]:
    return form("data", path.read_bytes(), filename=path.name, content_type="image/png")


@pytest.fixture(scope="module")
def answers(examples: Endpoint) -> dict[Path, Answer]:
    """The answer to each held-out picture, all posted on one connection."""
    connection = examples.connect()
    found = {}
    for path, _ in held_out():
        headers, body = upload(path)
        found[path] = ask(connection, "POST", "/digits_lenet/predict", body, headers)
        assert connection.sock is not None, "the connection was not kept alive"
    connection.close()
    return found


def test_at_least_97_percent_of_the_held_out_pictures_are_read_rightly(answers: dict[Path, Answer]) -> None:
    assert {answer.status for answer in answers.values()} == {200}
    right = [answers[path].json["prediction"][0]["class"] == label for path, label in held_out()]
    assert len(right) == 360
    assert np.mean(right) >= FLOOR


@pytest.fixture(scope="module")
def block(mx: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The exported files of the archive as a block of stock Gluon, unpacked by stock Python."""
    folder = tmp_path_factory.mktemp("digits")
    with zipfile.ZipFile(built("digits_lenet", "digits_lenet.model")) as archive:
        archive.extractall(folder)
    (symbol,), (parameters,) = folder.glob("*-symbol.json"), folder.glob("*.params")
    return mx.gluon.SymbolBlock.imports(str(symbol), ["data"], str(parameters))


def pixels(path: Path) -> NDArray[np.float32]:
    """What the signature says of the input, in plain Pillow and NumPy."""
    picture = Image.open(path).convert("L")
    assert picture.size == (80, 80)
    grey = np.asarray(picture.resize((28, 28), Image.Resampling.BILINEAR), dtype=np.float32)
    return (255 - grey)[None, None] / np.float32(255)


def test_the_served_prediction_is_that_of_the_block_run_directly(
    answers: dict[Path, Answer], block: Any, mx: Any
) -> None:
    for path, _ in held_out()[::18]:
        direct = block(mx.nd.array(pixels(path))).softmax().asnumpy()[0]
        served = answers[path].json["prediction"]
        assert [each["class"] for each in served] == [str(each) for each in direct.argsort()[::-1][:3]]
        probabilities = [each["probability"] for each in served]
        np.testing.assert_allclose(probabilities, np.sort(direct)[::-1][:3], rtol=1e-3, atol=1e-6)


def test_a_picture_that_was_cut_off_is_400_and_the_next_one_is_read(examples: Endpoint) -> None:
    path, label = held_out()[0]
    broken = examples.ask("POST", "/predictions/digits_lenet", path.read_bytes()[:-40], {"Content-Type": "image/png"})
    whole = examples.ask("POST", "/predictions/digits_lenet", path.read_bytes(), {"Content-Type": "image/png"})
    assert (broken.status, broken.json["type"]) == (400, "BadRequestException")
    assert "no whole image" in broken.json["message"]
    assert (whole.status, whole.json["prediction"][0]["class"]) == (200, label)
