"""What floor and naive do alike with the picture and the net's output, so that only the way to the net differs.

The steps are those that the workload's ``signature.json`` declares for our own handler; ``build_workload.py`` writes it.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHORT_SIDE = 256
CROP = 224
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
TOP = 5

# (pixel / 255 - mean) / std, folded into one multiplication and one addition.
_FACTOR = (1.0 / (255.0 * np.array(STD))).astype(np.float32)
_OFFSET = (-np.array(MEAN) / np.array(STD)).astype(np.float32)


def to_batch(jpeg: bytes) -> NDArray[np.float32]:
    """Decode, resize and crop a picture; return float32 of shape (1, 3, 224, 224)."""
    picture = Image.open(io.BytesIO(jpeg)).convert("RGB")
    factor = SHORT_SIDE / min(picture.size)
    width, height = (round(side * factor) for side in picture.size)
    picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    left, top = (width - CROP) // 2, (height - CROP) // 2
    pixels = np.asarray(picture.crop((left, top, left + CROP, top + CROP)), dtype=np.float32)
    return np.ascontiguousarray((pixels * _FACTOR + _OFFSET).transpose(2, 0, 1))[np.newaxis]


def top_classes(logits: NDArray[np.float32], labels: list[str]) -> list[dict[str, Any]]:
    """Softmax over the logits of shape (classes,) and the five likeliest labels, best first."""
    powers = np.exp(logits - logits.max())
    chances = powers / powers.sum()
    best = np.argsort(-chances)[:TOP]
    return [{"class": labels[index], "probability": float(chances[index])} for index in best]
