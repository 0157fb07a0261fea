"""``mms.utils.mxnet.ndarray`` (MMS 0.4: mms/utils/mxnet/ndarray.py)."""

from __future__ import annotations

from typing import Any

import numpy as np


def top_probability(data: Any, labels: list[str], top: int = 5) -> list[dict[str, Any]]:
    """The ``top`` most probable classes of the first example.

    Args:
        data: NDArray of probabilities, shape (batch, classes); further axes of size one are dropped.
        labels: One for each class.
        top: How many.
    """
    probabilities = data[0].asnumpy().reshape(data.shape[1])
    best = np.argsort(-probabilities, kind="stable")[:top]
    return [{"probability": float(probabilities[index]), "class": labels[index]} for index in best]
