"""``mms.utils.mxnet.nlp``: sentences as numbers (MMS 0.4: mms/utils/mxnet/nlp.py)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

import mxnet as mx
import numpy as np


def encode_sentences(
    sentences: Sequence[Sequence[str]],
    vocab: dict[str, int] | None = None,
    invalid_label: int = -1,
    invalid_key: str = "\n",
    start_label: int = 0,
) -> tuple[list[list[int]], dict[str, int]]:
    """Turn words into numbers.

    Args:
        sentences: Lists of words.
        vocab: Each word's number; without it one is built, in the order in which words come.
        invalid_label: The number of unknown words, and of ``invalid_key``.
        invalid_key: The word that stands for none.
        start_label: The first number of a vocabulary that is built.

    Returns:
        The sentences as lists of numbers, and the vocabulary.
    """
    if vocab is not None:
        return [[vocab.get(word, invalid_label) for word in sentence] for sentence in sentences], vocab
    numbers = {invalid_key: invalid_label}
    unused = (number for number in range(start_label, start_label + _most(sentences)) if number != invalid_label)
    for sentence in sentences:
        for word in sentence:
            if word not in numbers:
                numbers[word] = next(unused)
    return [[numbers[word] for word in sentence] for sentence in sentences], numbers


def pad_sentence(
    sentence: Sequence[int],
    buckets: Sequence[int],
    invalid_label: int = -1,
    data_name: str = "data",
    layout: str = "NT",
) -> Any:
    """Pad an encoded sentence to the shortest bucket that holds it.

    Args:
        sentence: Numbers.
        buckets: Lengths, ascending.
        invalid_label: What fills up.
        data_name: The input's name.
        layout: ``NT`` or ``TN``, as the batch declares itself.

    Returns:
        A ``DataBatch`` of one, its ``bucket_key`` the bucket's length.

    Raises:
        ValueError: The sentence is longer than every bucket. MMS raised a bare IndexError.
    """
    fitting = bisect_left(buckets, len(sentence))
    if fitting == len(buckets):
        raise ValueError(f"the sentence has {len(sentence)} words; the longest bucket holds {buckets[-1]}")
    length = buckets[fitting]
    padded = np.full((1, length), invalid_label, dtype="float32")
    padded[0, : len(sentence)] = sentence
    shape = (1, length) if layout == "NT" else (length, 1)
    description = mx.io.DataDesc(name=data_name, shape=shape, layout=layout)
    return mx.io.DataBatch([mx.nd.array(padded)], pad=0, bucket_key=length, provide_data=[description])


def _most(sentences: Sequence[Sequence[str]]) -> int:
    """How many numbers may be needed, the one that is left out included."""
    return sum(len(sentence) for sentence in sentences) + 1
