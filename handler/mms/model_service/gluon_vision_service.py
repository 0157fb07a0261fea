"""``mms.model_service.gluon_vision_service``: MMS 0.4's image classification with a Gluon block."""

from __future__ import annotations

from typing import Any

import mxnet as mx

# Not by way of mx.image, which would be loaded by the first request.
from mxnet.image import color_normalize, imdecode, imresize

from mms.model_service.mxnet_model_service import GluonImperativeBaseService
from mms.utils.mxnet import ndarray

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class GluonVisionService(GluonImperativeBaseService):
    """Takes images, resized to the signature's shape and normalised as ImageNet's; answers the five most probable labels."""

    def _preprocess(self, data: Any) -> Any:
        return [
            _normalised(encoded, *declared["data_shape"][2:])
            for encoded, declared in zip(data, self.signature["inputs"], strict=True)
        ]

    def _inference(self, data: Any) -> Any:
        """The probabilities: one NDArray of shape (1, classes), not a list of them."""
        super()._inference(data)
        return self.net(data[0]).softmax()

    def _postprocess(self, data: Any) -> Any:
        """MMS's own took each row for a batch and raised IndexError; services override it."""
        assert hasattr(self, "labels"), "Can't find labels attribute. Did you put synset.txt file into model archive?"
        return [ndarray.top_probability(data, self.labels, top=5)]


def _normalised(encoded: Any, height: int, width: int) -> Any:
    pixels = imresize(imdecode(encoded), width, height).astype("float32") / 255
    normal = color_normalize(pixels, mean=mx.nd.array(IMAGENET_MEAN), std=mx.nd.array(IMAGENET_STD))
    return mx.nd.transpose(normal, (2, 0, 1)).expand_dims(axis=0)
