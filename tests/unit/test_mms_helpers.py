"""``mms.utils`` and ``mms.log``: the helpers that service code imports."""

from __future__ import annotations

import base64
import io
import logging
from pathlib import Path

import mxnet as mx
import numpy as np
import pytest
from PIL import Image

from mms.log import LOG_LEVEL_DICT, get_logger, getLogger
from mms.model_service.model_service import load_service
from mms.utils.mxnet import image, ndarray, nlp
from mms.utils.timeit_decorator import timeit


def encoded(color: str, kind: str) -> bytes:
    target = io.BytesIO()
    Image.new("RGB", (6, 4), color).save(target, kind)
    return target.getvalue()


def test_an_image_is_read_as_rgb_or_grey() -> None:
    assert image.read(encoded("red", "png")).asnumpy()[0, 0].tolist() == [255, 0, 0]
    assert image.read(bytearray(encoded("red", "png")), to_rgb=False).asnumpy()[0, 0].tolist() == [0, 0, 255]
    assert image.read(encoded("red", "png"), flag=0).shape == (4, 6, 1)


@pytest.mark.parametrize(("order", "shape"), [("NCHW", (1, 3, 4, 6)), ("NHWC", (1, 4, 6, 3))])
def test_an_image_is_brought_into_the_nets_layout(order: str, shape: tuple[int, ...]) -> None:
    assert image.transform_shape(image.read(encoded("red", "png")), order).shape == shape
    with pytest.raises(AssertionError, match="dim_order"):
        image.transform_shape(image.read(encoded("red", "png")), "CHWN")


@pytest.mark.parametrize(("order", "axes"), [("HWC", (0, 1, 2)), ("CHW", (2, 0, 1))])
def test_an_image_that_is_written_is_read_back(order: str, axes: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(7).integers(0, 256, (4, 6, 3))
    text = image.write(mx.nd.array(pixels.transpose(axes)), format="png", dim_order=order)
    assert (image.read(base64.b64decode(text)).asnumpy() == pixels).all()
    grey = image.write(mx.nd.array(pixels[:, :, :1].transpose(axes)), flag=0, format="png", dim_order=order)
    assert (image.read(base64.b64decode(grey), flag=0).asnumpy() == pixels[:, :, :1]).all()


def test_an_image_is_resized_cropped_and_normalised() -> None:
    read = image.read(encoded("white", "png"))
    assert image.resize(read, 3, 2).shape == (2, 3, 3)
    assert image.fixed_crop(read, 1, 1, 2, 3).shape == (3, 2, 3)
    normal = image.color_normalize(read, mx.nd.array([255, 155, 55]), mx.nd.array([1, 100, 100]))
    assert normal.asnumpy()[0, 0].tolist() == [0, 1, 2]


@pytest.mark.parametrize("shape", [(1, 4), (1, 4, 1, 1)])
def test_the_most_probable_labels_come_first(shape: tuple[int, ...]) -> None:
    probabilities = mx.nd.array([0.1, 0.6, 0.05, 0.25]).reshape(shape)
    best = ndarray.top_probability(probabilities, list("abcd"), top=2)
    assert [each["class"] for each in best] == ["b", "d"]
    assert best[0]["probability"] == pytest.approx(0.6)
    assert len(ndarray.top_probability(probabilities, list("abcd"))) == 4


def test_sentences_become_numbers_with_a_vocabulary_given_or_built() -> None:
    words = [["the", "cat"], ["the", "dog"]]
    assert nlp.encode_sentences(words, {"the": 5, "cat": 6}) == ([[5, 6], [5, -1]], {"the": 5, "cat": 6})
    assert nlp.encode_sentences(words, start_label=1) == ([[1, 2], [1, 3]], {"\n": -1, "the": 1, "cat": 2, "dog": 3})
    numbers, vocabulary = nlp.encode_sentences(words, invalid_label=0)
    assert (numbers, vocabulary["\n"]) == ([[1, 2], [1, 3]], 0)
    assert nlp.encode_sentences([]) == ([], {"\n": -1})


@pytest.mark.parametrize(("length", "bucket"), [(0, 2), (2, 2), (3, 5), (5, 5)])
def test_a_sentence_is_padded_to_the_shortest_bucket_that_holds_it(length: int, bucket: int) -> None:
    batch = nlp.pad_sentence(list(range(length)), [2, 5])
    assert batch.bucket_key == bucket
    assert batch.data[0].asnumpy().tolist() == [[*range(length), *[-1] * (bucket - length)]]
    assert batch.provide_data[0].shape == (1, bucket)


def test_a_sentence_longer_than_every_bucket_is_an_error_that_says_so() -> None:
    with pytest.raises(ValueError, match="6 words; the longest bucket holds 5"):
        nlp.pad_sentence([1] * 6, [2, 5])


def test_loggers_have_a_level_and_no_handler_of_their_own() -> None:
    logger = get_logger("mms.test", level="WARNING", rotate_value="D")
    assert (logger.level, logger.handlers) == (logging.WARNING, [])
    assert getLogger("mms.test.old", level="DEBUG").level == LOG_LEVEL_DICT["DEBUG"]
    assert get_logger() is logging.getLogger()
    with pytest.raises(KeyError):
        get_logger("mms.test", level="LOUD")


def test_timeit_returns_what_the_function_returns(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert timeit(lambda *, value: value + 1)(value=1) == 2
    assert "took" in caplog.text


def test_a_service_file_is_loaded_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "own.service.py").write_text("NAME = __name__")
    assert load_service(str(tmp_path / "own.service.py")).NAME == "own.service"
    (tmp_path / "notes.txt").write_text("no code")
    with pytest.raises(ImportError, match="no Python file"):
        load_service(str(tmp_path / "notes.txt"))
