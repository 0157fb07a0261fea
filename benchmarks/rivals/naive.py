"""The naive handler: what a good engineer writes first. Stock ``import mxnet``, a hybridized SymbolBlock, a boto3 client
for archives on S3, FastAPI behind Mangum. Everything is loaded once, in INIT; nothing is done twice.

Environment: ``BENCH_MODEL`` is the folder with the net's files, here or on S3 (``s3://bucket/prefix``).
"""

from __future__ import annotations

import json
import os
import time

_started = time.perf_counter()

import numpy as np  # noqa: E402

_numpy_loaded = time.perf_counter()

from image_steps import to_batch, top_classes  # type: ignore[import-not-found] # noqa: E402

_pillow_loaded = time.perf_counter()

import mxnet as mx  # noqa: E402

_mxnet_loaded = time.perf_counter()

import boto3  # noqa: E402

_s3 = boto3.client("s3")
_boto3_loaded = time.perf_counter()

from pathlib import Path  # noqa: E402
from typing import TYPE_CHECKING, Any  # noqa: E402

from fastapi import FastAPI, Request  # noqa: E402
from mangum import Mangum  # noqa: E402

if TYPE_CHECKING:
    from numpy.typing import NDArray

app = FastAPI()
_fastapi_loaded = time.perf_counter()

FILES = ("mobilenet-symbol.json", "mobilenet-0000.params", "synset.txt")


def local_folder(location: str) -> Path:
    """The folder with the net's files, fetched first where it lies on S3."""
    if not location.startswith("s3://"):
        return Path(location)
    bucket, _, prefix = location.removeprefix("s3://").partition("/")
    folder = Path("/tmp/model")
    folder.mkdir(exist_ok=True)
    for name in FILES:
        _s3.download_file(bucket, f"{prefix.rstrip('/')}/{name}", str(folder / name))
    return folder


def load_net(folder: Path) -> Any:
    """Build the net from its exported files, hybridized with static memory."""
    net = mx.gluon.SymbolBlock.imports(str(folder / FILES[0]), ["data"], str(folder / FILES[1]))
    net.hybridize(static_alloc=True, static_shape=True)
    return net


def logits_of(batch: NDArray[np.float32]) -> NDArray[np.float32]:
    """Run the net once; return the logits, shape (1000,)."""
    logits: NDArray[np.float32] = _net(mx.nd.array(batch)).asnumpy()[0]
    return logits


_folder = local_folder(os.environ["BENCH_MODEL"])
_net = load_net(_folder)
_labels = (_folder / "synset.txt").read_text(encoding="utf-8").splitlines()
_loaded = time.perf_counter()


@app.post("/mobilenet/predict")
async def predict(request: Request) -> dict[str, Any]:
    """Answer a JPEG with its five likeliest classes."""
    return {"prediction": top_classes(logits_of(to_batch(await request.body())), _labels)}


lambda_handler = Mangum(app, lifespan="off")

_phases = {
    "numpy": _numpy_loaded - _started,
    "pillow": _pillow_loaded - _numpy_loaded,
    "import mxnet": _mxnet_loaded - _pillow_loaded,
    "boto3": _boto3_loaded - _mxnet_loaded,
    "fastapi": _fastapi_loaded - _boto3_loaded + time.perf_counter() - _loaded,
    "load": _loaded - _fastapi_loaded,
}
print(json.dumps({"init": {name: round(1000 * seconds, 3) for name, seconds in _phases.items()}}), flush=True)
