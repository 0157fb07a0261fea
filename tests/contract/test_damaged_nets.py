"""Symbol and params files cut short and with bytes changed: an error that names the file, or an answer that follows from what it says.

Never a crash, a hang, or what happens to lie in memory. The net is loaded in a process of its own, which a test outlives.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from gluon_lambda.errors import ArchiveCorrupt, ArchiveError, InferenceError, OutOfMemory
from tests.contract.test_predictor_nets import branch, loop, sequence_layers, some_parts_of_a_split
from tests.lone_engine import LoneEngine
from tests.net_samples import Sample

NETS: list[Callable[[Any], Sample]] = [sequence_layers, loop, branch, some_parts_of_a_split]
# How many damages of a kind are tried on each net: quickly, and by the slow tests.
FEW, MANY = 15, 400


@pytest.fixture(scope="module")
def alone() -> Iterator[LoneEngine]:
    engine = LoneEngine(seconds=30)
    yield engine
    engine.close()


def cut(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content))]


def flip_a_bit(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content)
    changed[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def flip_a_bit_in_front(content: bytes, chance: random.Random) -> bytes:
    """Where lengths and counts are."""
    return flip_a_bit(content[:64], chance) + content[64:]


def change_a_digit(content: bytes, chance: random.Random) -> bytes:
    """Another number, in a file that still parses."""
    at = chance.choice([at for at, byte in enumerate(content) if byte in b"0123456789"])
    return content[:at] + chance.choice("0123456789-").encode() + content[at + 1 :]


DAMAGES: list[tuple[str, Callable[[bytes, random.Random], bytes]]] = [
    ("symbol", cut),
    ("symbol", flip_a_bit),
    ("symbol", change_a_digit),
    ("params", cut),
    ("params", flip_a_bit),
    ("params", flip_a_bit_in_front),
]


def outcome(engine: LoneEngine, sample: Sample) -> tuple[str, list[Any]]:
    """The error's class and what it names first, or the answer."""
    try:
        predictor = engine(name="net", symbol=sample.symbol, params=sample.params, inputs=sample.inputs)
    except (ArchiveError, OutOfMemory) as error:
        return f"{type(error).__name__}: {str(error)[:4]}", []
    try:
        return "", predictor.predict(sample.arrays)
    except InferenceError as error:
        return f"{type(error).__name__}: {str(error)[:4]}", []
    finally:
        predictor.close()


def require_sound_outcomes(engine: LoneEngine, sample: Sample, file: str, damage: Any, times: int) -> set[str]:
    chance = random.Random(20)
    outcomes = set()
    for _ in range(times):
        damaged = sample._replace(**{file: damage(getattr(sample, file), chance)})
        (error, answer), (again, same_answer) = outcome(engine, damaged), outcome(engine, damaged)
        assert error == again
        for one, other in zip(answer, same_answer, strict=True):
            np.testing.assert_array_equal(one, other, "what lay in memory came out")
        outcomes.add(error)
    return outcomes


@pytest.mark.parametrize("times", [FEW, pytest.param(MANY, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("file", "damage"), DAMAGES)
@pytest.mark.parametrize("net", NETS)
def test_damage_is_refused_or_makes_another_net(
    net: Callable[[Any], Sample], file: str, damage: Callable[..., bytes], times: int, mx: Any, alone: LoneEngine
) -> None:
    outcomes = require_sound_outcomes(alone, net(mx), file, damage, times)
    assert all(each.endswith(": net:") for each in outcomes if each)
    if damage is cut and file == "params":
        assert outcomes == {"ArchiveCorrupt: net:"}


@pytest.mark.parametrize("output", [1, 7, 1 << 31])
def test_an_output_that_its_node_does_not_have_is_named(output: int, mx: Any, alone: LoneEngine) -> None:
    """libmxnet hangs on it."""
    sample = loop(mx)
    symbol = sample.symbol.replace(b'"heads": [[2, 0, 0], [2, 1, 0]]', b'"heads": [[2, 0, 0], [1, %d, 0]]' % output)
    assert symbol != sample.symbol
    with pytest.raises(ArchiveCorrupt, match=rf"outputs takes output {output} of node 1, which is not there"):
        alone(name="net", symbol=symbol, params=sample.params, inputs=sample.inputs)


def test_an_operator_that_this_libmxnet_lacks_is_named(mx: Any, alone: LoneEngine) -> None:
    sample = some_parts_of_a_split(mx)
    symbol = sample.symbol.replace(b'"op": "SliceChannel"', b'"op": "_contrib_SliceVolume"')
    with pytest.raises(ArchiveCorrupt, match="_contrib_SliceVolume"):
        alone(name="net", symbol=symbol, params=sample.params, inputs=sample.inputs)
