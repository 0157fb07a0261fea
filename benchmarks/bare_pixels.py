"""The least work that makes a JPEG the array which the handler gives to its net, bit by bit: what rivals are given.

Nothing is checked, nothing is asked of the file but its pixels, and the arithmetic is that of the handler.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from benchmarks.rivals import image_steps

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Batch = NDArray[np.float32]

CROP, SHORT_SIDE = image_steps.CROP, image_steps.SHORT_SIDE
Box = tuple[float, float, float, float]

_SCALE = np.float32(1 / 255)
_MEAN = tuple(np.float32(mean) for mean in image_steps.MEAN)
_STD = tuple(np.float32(std) for std in image_steps.STD)


def bare_batch(jpeg: bytes, box: Box) -> Batch:
    """Decode, resize and crop in one, normalise; float32 of shape (1, 3, 224, 224).

    Args:
        jpeg: The file.
        box: What of the picture ends up in the array, worked out beforehand.
    """
    batch = np.empty((1, 3, CROP, CROP), np.float32)
    fill(batch[0], jpeg, box)
    return batch


def fill(row: Batch, jpeg: bytes, box: Box) -> None:
    """The same into a row of a batch, of shape (3, 224, 224), that is there already."""
    picture = Image.open(BytesIO(jpeg)).resize((CROP, CROP), Image.Resampling.BILINEAR, box)
    for plane, band, mean, std in zip(row.reshape(3, CROP * CROP), "RGB", _MEAN, _STD, strict=True):
        np.multiply(np.frombuffer(picture.tobytes("raw", band), np.uint8), _SCALE, out=plane)
        np.subtract(plane, mean, out=plane)
        np.divide(plane, std, out=plane)


def middle(width: int, height: int) -> Box:
    """The box that resizing the shorter side to SHORT_SIDE and cropping the middle would leave."""
    factor = min(width, height) / SHORT_SIDE
    left, top = ((side / factor - CROP) // 2 * factor for side in (width, height))
    return (left, top, left + CROP * factor, top + CROP * factor)
