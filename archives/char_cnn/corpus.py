"""Product reviews, generated: sentence frames and words of corpus.toml, put together by a seeded generator.

The two sides of the split share no frame, no product name and hence no sentence; README.md says what that does and does not show.
"""

from __future__ import annotations

import random
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

T = TypeVar("T")
Side = Literal["training", "held_out"]

GRAMMAR_FILE = Path(__file__).with_name("corpus.toml")
# How often a slot takes a word that fits every category.
SHARED_WORDS = 0.2
WORD_LISTS = {"kind": "kinds", "part": "parts", "good": "good", "bad": "bad", "use": "uses"}
# Most reviews are short, some are long: how many sentences one has.
SENTENCE_COUNTS = (2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 6, 12)

_SLOT = re.compile(r"\{(\w+)\}")


class Review(NamedTuple):
    """One generated review and what it was made of.

    Attributes:
        title: The review's headline.
        text: The review itself.
        category: Index into :func:`category_names`.
        product: The invented product that it is about.
        frames: The frames of its title and sentences, in order.
        sentences: The title and the sentences, in order.
    """

    title: str
    text: str
    category: int
    product: str
    frames: tuple[str, ...]
    sentences: tuple[str, ...]


def read_grammar(path: Path = GRAMMAR_FILE) -> dict[str, Any]:
    """The tables of corpus.toml."""
    return tomllib.loads(path.read_text(encoding="utf-8"))


def category_names(grammar: dict[str, Any]) -> list[str]:
    """The product categories, in the order of the net's outputs."""
    return [category["name"] for category in grammar["category"]]


def generate(grammar: dict[str, Any], side: Side, count: int, *, seed: int) -> list[Review]:
    """Make reviews, the categories taking turns.

    Args:
        grammar: The tables of corpus.toml.
        side: Which side's frames and product names to use.
        count: How many reviews.
        seed: The same seed gives the same reviews on every Python version: only ``random()`` is drawn from the generator, the
            one method whose sequence Python promises to keep.
    """
    dice = random.Random(seed)
    return [_review(grammar, side, index % len(grammar["category"]), dice) for index in range(count)]


def _review(grammar: dict[str, Any], side: Side, category: int, dice: random.Random) -> Review:
    product = " ".join(_pick(dice, words) for words in grammar[side]["names"])
    frames = (_pick(dice, grammar[side]["titles"]), *_draw_frames(grammar[side]["frames"], dice))
    sentences = tuple(_fill(frame, grammar, category, product, dice) for frame in frames)
    return Review(sentences[0], " ".join(sentences[1:]), category, product, frames, sentences)


def _draw_frames(frames: list[str], dice: random.Random) -> list[str]:
    """Frames for one review, none twice in a row of as many as there are."""
    shuffled = sorted(frames, key=lambda _frame: dice.random())
    return [shuffled[index % len(shuffled)] for index in range(_pick(dice, SENTENCE_COUNTS))]


def _fill(frame: str, grammar: dict[str, Any], category: int, product: str, dice: random.Random) -> str:
    """One frame with its slots filled; starts with a capital letter."""

    def word(slot: re.Match[str]) -> str:
        name = slot.group(1)
        if name == "product":
            return product
        if name == "other":
            return _kind_of_another_category(grammar, category, dice)
        source = grammar["shared"] if dice.random() < SHARED_WORDS else grammar["category"][category]
        words: list[str] = source[WORD_LISTS[name]]
        return _pick(dice, words)

    sentence = _SLOT.sub(word, frame)
    return sentence[0].upper() + sentence[1:]


def _kind_of_another_category(grammar: dict[str, Any], category: int, dice: random.Random) -> str:
    others: list[dict[str, Any]] = [words for index, words in enumerate(grammar["category"]) if index != category]
    kinds: list[str] = _pick(dice, others)["kinds"]
    return _pick(dice, kinds)


def _pick(dice: random.Random, choices: Sequence[T]) -> T:
    return choices[int(dice.random() * len(choices))]
