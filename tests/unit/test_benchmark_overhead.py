"""What the warm overhead's benchmark compares, and what it makes of its measurements."""

from __future__ import annotations

import json
from base64 import b64encode
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from benchmarks.bare_pixels import middle
from benchmarks.pictures import Wanted, jpeg
from benchmarks.rivals.image_steps import CROP, MEAN, SHORT_SIDE, STD
from benchmarks.warm_overhead import difference, main, sums_of, table, tells_of_a_prediction
from benchmarks.warm_pairs import decode, in_rounds
from gluon_lambda.archive_store.signature import InputDeclaration
from gluon_lambda.services.image_steps import parse_steps
from gluon_lambda.services.images import image_array


@pytest.mark.parametrize("size", [(600, 400), (2400, 1600), (400, 600), (512, 512)])
def test_the_bare_work_makes_the_very_array_that_the_handler_makes(size: tuple[int, int]) -> None:
    raw = jpeg(Wanted(*size, 40_000))
    preprocess = {"resize": SHORT_SIDE, "crop": [CROP, CROP], "scale": 1 / 255, "mean": list(MEAN), "std": list(STD)}
    steps = parse_steps(InputDeclaration("data", (0, 3, CROP, CROP), "float32", preprocess), where="here")

    bare = decode(b64encode(raw).decode("ascii"), middle(*size))

    assert np.array_equal(bare, image_array(raw, steps))


def test_a_picture_has_the_size_that_is_wanted_and_is_the_same_each_time() -> None:
    wanted = Wanted(900, 600, 150_000)
    raw = jpeg(wanted)
    assert 150_000 <= len(raw) < 175_000
    assert Image.open(BytesIO(raw)).size == (900, 600)
    assert raw == jpeg(wanted)


def test_a_difference_is_the_median_of_the_rounds_own_differences() -> None:
    found = difference([1.0, 12.0, 103.0], [0.0, 10.0, 100.0])
    assert (found.median, found.mean, found.p99) == (2.0, 2.0, 3.0)


def test_the_interval_has_the_ranks_that_hold_the_median_with_95_percent() -> None:
    found = difference([float(value) for value in range(1000)], [0.0] * 1000)
    assert (found.low, found.high) == (469.0, 531.0)
    assert (found.p5, found.p95) == (49.0, 949.0)


def test_series_of_different_lengths_are_no_pairs() -> None:
    with pytest.raises(ValueError, match="shorter"):
        difference([1.0, 2.0], [1.0])


def test_every_round_asks_each_of_them_once_in_changing_order() -> None:
    asked: list[str] = []

    def contender(name: str) -> float:
        asked.append(name)
        return float(len(asked))

    timed = in_rounds({name: lambda name=name: contender(name) for name in ("a", "b")}, 40)  # type: ignore[misc]
    pairs = [tuple(asked[at : at + 2]) for at in range(0, len(asked), 2)]
    assert set(pairs) == {("a", "b"), ("b", "a")}
    assert {name: len(values) for name, values in timed.milliseconds.items()} == {"a": 40, "b": 40}


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ({"status": 200, "InferenceTime": 1.0, "_aws": {}}, True),
        ({"status": 400, "InferenceTime": 1.0, "_aws": {}}, False),
        ({"status": 200, "InferenceTime": 1.0}, False),
        ({"message": "INIT done"}, False),
    ],
)
def test_only_an_answered_prediction_with_its_metrics_counts_as_logged(
    record: dict[str, object], *, told: bool
) -> None:
    assert tells_of_a_prediction(json.dumps(record)) is told


def test_the_table_has_a_line_for_each_comparison_and_the_memory() -> None:
    handler, bare, plain = [3.0, 3.5, 3.25], [2.75, 3.25, 3.0], [4.0, 4.0, 4.0]
    pairs = {
        "bare": {"milliseconds": {"lambda_handler": handler, "bare": bare}, "grown_bytes": 2 * 1024},
        "plain": {"milliseconds": {"lambda_handler": handler, "plain": plain}, "grown_bytes": 3 * 1024},
    }
    result = {
        "settings": {"rounds": 3},
        "machine": {"processor": "any", "cpus": 2, "cpu_share_of_other_work": 0.3},
        "predictors": {"instant": {"38 kB": sums_of(pairs)}},
    }
    text = table(result)
    assert "NOT TO BE RELIED ON: 30%" in text
    assert "38 kB, less bare work" in text
    assert "0.250" in text
    assert "38 kB, less straight-line" in text
    assert "-0.750" in text
    assert "memory grew by 5 KiB" in text


def test_a_single_round_has_no_spread_and_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--rounds", "1"])
    assert "at least 2" in capsys.readouterr().err
