"""``mms.model_service.mxnet_vision_service``: MMS 0.4's image classification with a symbolic net."""

from __future__ import annotations

from typing import Any

from mms.model_service.mxnet_model_service import MXNetBaseService
from mms.utils.mxnet import image, ndarray


class MXNetVisionService(MXNetBaseService):
    """Takes images, resized to the signature's shape, in their own 0 to 255; answers the five most probable labels."""

    def _preprocess(self, data: Any) -> Any:
        return [
            image.transform_shape(
                image.resize(image.read(encoded), declared["data_shape"][3], declared["data_shape"][2])
            )
            for encoded, declared in zip(data, self.signature["inputs"], strict=True)
        ]

    def _postprocess(self, data: Any) -> Any:
        assert hasattr(self, "labels"), "Can't find labels attribute. Did you put synset.txt file into model archive?"
        return [ndarray.top_probability(array, self.labels, top=5) for array in data]
