"""The handwriting: scikit-learn's copy of the UCI digits, drawn as pictures that a user might send."""

from __future__ import annotations

import gzip
import random
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gluon_lambda.services.image_steps import ImageSteps
from gluon_lambda.services.images import image_array

INK = 16  # the data's darkest value
# Ten times the original's side, so that nobody has to squint.
PICTURE_SIZE = 80
HELD_OUT = 360
SPLIT_SEED = 1


class Digit(NamedTuple):
    """One handwritten digit.

    Attributes:
        pixels: (8, 8), 0 is paper and 16 is ink.
        label: 0 to 9.
    """

    pixels: NDArray[np.uint8]
    label: int


def read_digits(path: Path) -> list[Digit]:
    """The 1,797 digits of ``digits.csv.gz``: a line is 64 pixels, row by row, and the label."""
    with gzip.open(path, "rt", encoding="ascii") as lines:
        table = np.loadtxt(lines, delimiter=",").astype(np.uint8)
    return [Digit(row[:64].reshape(8, 8), int(row[64])) for row in table]


def split(digits: list[Digit]) -> tuple[list[Digit], list[Digit]]:
    """Shuffle with a fixed seed; the training digits and the ``HELD_OUT`` others."""
    dice = random.Random(SPLIT_SEED)
    shuffled = sorted(digits, key=lambda _digit: dice.random())
    return shuffled[HELD_OUT:], shuffled[:HELD_OUT]


def picture(digit: Digit, size: int = PICTURE_SIZE) -> bytes:
    """A PNG of the digit, dark ink on white paper, ``size`` pixels square."""
    paper = np.uint8(255) - np.round(digit.pixels * (255 / INK)).astype(np.uint8)
    image = Image.fromarray(paper).resize((size, size), Image.Resampling.BICUBIC)
    png = BytesIO()
    image.save(png, "PNG")
    return png.getvalue()


def as_served(digits: list[Digit], steps: ImageSteps) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Pictures and labels as the net gets them: the pictures take the very way of a request's.

    Returns:
        Arrays of shape (digits, 1, 28, 28) and (digits,).
    """
    arrays = np.concatenate([image_array(picture(digit), steps) for digit in digits])
    return arrays.astype(np.float32), np.array([digit.label for digit in digits], dtype=np.float32)


def write_pictures(digits: list[Digit], folder: Path) -> None:
    """One PNG a digit and ``labels.csv`` (``file,label``), for measuring the endpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, digit in enumerate(digits):
        (folder / f"{index:04}.png").write_bytes(picture(digit))
    rows = [f"{index:04}.png,{digit.label}" for index, digit in enumerate(digits)]
    (folder / "labels.csv").write_text("\n".join(["file,label", *rows]) + "\n", encoding="ascii")
