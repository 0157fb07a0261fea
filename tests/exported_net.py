"""An archive with an exported net on disk, opened for real, with a fake predictor in the net's place."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from gluon_lambda.archive_store.archive import Archive, open_archive
from gluon_lambda.archive_store.cache import open_cache
from gluon_lambda.archive_store.location import parse_location
from gluon_lambda.runtime.fake import FakePredictor
from gluon_lambda.services import builtin
from gluon_lambda.services.exported_net import load_net
from gluon_lambda.types import Part, Payload, Service, TensorSpec

if TYPE_CHECKING:
    from gluon_lambda.types import Array

Compute = Callable[[Mapping[str, "Array"]], list["Array"]]

IMAGE_INPUT: dict[str, Any] = {"data_name": "data", "data_shape": [0, 3, 4, 6]}
TENSOR_INPUT: dict[str, Any] = {"data_name": "x", "data_shape": [0, 3]}


class Loaded(NamedTuple):
    """A built-in service and the fake net behind it."""

    service: Service
    net: FakePredictor

    def answer(self, *parts: Part) -> Any:
        """What the client gets for a request of these parts."""
        return self.service.predict(Payload(parts)).value

    def got(self) -> dict[str, Array]:
        """The arrays that the net was given last."""
        return self.net.asked[-1]


def image_signature(*inputs: dict[str, Any], outputs: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """A signature of image inputs."""
    return {"input_type": "image/jpeg", "inputs": list(inputs or (IMAGE_INPUT,)), "outputs": list(outputs)}


def tensor_signature(*inputs: dict[str, Any], outputs: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """A signature of inputs that are numbers."""
    return {"input_type": "application/json", "inputs": list(inputs or (TENSOR_INPUT,)), "outputs": list(outputs)}


def open_folder(
    folder: Path, signature: dict[str, Any] | None, *, form: str = "mms-1.x", files: Mapping[str, str] | None = None
) -> Archive:
    """A folder with a net, opened as an archive called ``model``."""
    members = {"net-symbol.json": "{}", "net-0000.params": "", **(files or {})}
    if signature is not None:
        members["signature.json"] = json.dumps(signature)
    if form == "mms-0.4":
        model = {"Model-Name": "model", "Model-Format": "MXNet-Symbolic", "Service": "", "Signature": "signature.json"}
        net = {"Symbol": "net-symbol.json", "Parameters": "net-0000.params"}
        manifest = {"Model-Archive-Version": 0.2, "Model-Server": 0.4, "Engine": {"MXNet": "1.9.1"}}
        members["MANIFEST.json"] = json.dumps({**manifest, "Model": {**model, **net}})
    for name, content in members.items():
        (folder / name).write_text(content, encoding="utf-8")
    return open_archive("model", parse_location(str(folder)), cache=open_cache(str(folder / "cache")))


def load(archive: Archive, compute: Compute) -> Loaded:
    """The archive's built-in service over a net that does what ``compute`` does."""
    made: list[FakePredictor] = []

    def make_predictor(
        *, name: str, symbol: bytes, params: bytes | memoryview, inputs: Sequence[TensorSpec]
    ) -> FakePredictor:
        made.append(FakePredictor(inputs, compute))
        return made[-1]

    try:
        return Loaded(builtin.load(archive, load_net(archive, make_predictor)), made[-1])
    except BaseException:
        assert all(net.closed for net in made), "a net that is not served must not keep its memory"
        raise


def sums(arrays: Mapping[str, Array]) -> list[Array]:
    """A net with one output: each example's sum."""
    return [np.stack([array.reshape(len(array), -1).sum(axis=1) for array in arrays.values()], axis=1)]


def file_of(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """The image as a file."""
    stream = BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def image_part(raw: bytes, name: str = "data", content_type: str = "image/png") -> Part:
    """The image as an uploaded file."""
    return Part(name, raw, content_type, "picture")


def json_part(value: Any) -> Part:
    """The value as a JSON body."""
    return Part("body", json.dumps(value).encode(), "application/json")
