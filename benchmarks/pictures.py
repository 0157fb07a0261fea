"""Photographs for requests of any size: seeded noise with coarse and fine detail and a film's grain, as JPEG."""

from __future__ import annotations

from bisect import bisect_left
from io import BytesIO
from typing import NamedTuple

import numpy as np
from PIL import Image

SEED = 20
# How many cells across, and how much of the picture's contrast is theirs.
DETAIL = ((4, 0.5), (16, 0.3), (100, 0.2))
# Standard deviation in grey levels; without it a large picture would be smooth, and its file small.
GRAIN = 8.0
QUALITIES = range(1, 98)


class Wanted(NamedTuple):
    """A picture to be made: width and height, and the size of its file in bytes."""

    width: int
    height: int
    size: int


def noise_picture(width: int, height: int) -> Image.Image:
    """A seeded picture in RGB."""
    rng = np.random.default_rng(SEED)
    pixels = rng.normal(0, GRAIN, (height, width, 1)).astype(np.float32)
    for cells, weight in DETAIL:
        grid = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        layer = grid.resize((width, height), Image.Resampling.BICUBIC)
        pixels = pixels + weight * np.asarray(layer, dtype=np.float32)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def encode(picture: Image.Image, quality: int) -> bytes:
    """The picture as JPEG."""
    stream = BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def jpeg(wanted: Wanted) -> bytes:
    """A picture as JPEG, at the lowest quality that makes a file of at least the size that is wanted."""
    picture = noise_picture(wanted.width, wanted.height)
    quality = bisect_left(QUALITIES, wanted.size, key=lambda quality: len(encode(picture, quality)))
    return encode(picture, QUALITIES[min(quality, len(QUALITIES) - 1)])
