"""AlexNet as Gluon's model zoo trained it, served as an MMS 0.4 service: ``model_zoo.vision.alexnet(pretrained=True)``.

The parameters are the model zoo's file, which lies in the archive; without it the zoo is asked, which needs the network.
"""

from __future__ import annotations

import os
from typing import Any

import mxnet as mx
from mxnet.gluon.model_zoo import model_store, vision

from mms.model_service.gluon_vision_service import GluonVisionService
from mms.utils.mxnet import ndarray


class PretrainedAlexNetService(GluonVisionService):
    """Names what is in a picture: ``data`` is a JPEG; the answer is the five likeliest of ImageNet's classes."""

    # As the model zoo names it; a derived service may take another of its nets.
    zoo_name = "alexnet"

    def __init__(self, model_name: str, model_dir: str, manifest: dict[str, Any], gpu: int | None = None) -> None:
        super().__init__(model_name, model_dir, manifest, None, gpu)
        self.net = pretrained(self.zoo_name, model_dir, self.ctx)

    def _postprocess(self, data: Any) -> Any:
        return ndarray.top_probability(data, self.labels, top=5)


def pretrained(name: str, folder: str, ctx: Any) -> Any:
    """The model zoo's net with its trained parameters.

    Args:
        name: The model zoo's name of it.
        folder: Where its parameters may lie; otherwise MXNet's own folder is searched, and then the network.
        ctx: Where the parameters go.

    Raises:
        RuntimeError: They are in neither folder and cannot be downloaded; says which file is wanted.
    """
    file = f"{name}-{model_store.short_hash(name)}.params"
    own = os.path.isfile(os.path.join(folder, file))
    root = folder if own else os.path.join(mx.base.data_dir(), "models")
    try:
        return vision.get_model(name, pretrained=True, root=root, ctx=ctx)
    except Exception as error:
        raise RuntimeError(
            f"The model zoo's parameters {file} are {'damaged' if own else 'missing'} in the archive, and cannot be "
            f"downloaded: {error}. Build it again with them: python -m archives.alexnet_pretrained.build --params {file}"
        ) from error
