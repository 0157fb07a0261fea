"""The floor: the least Python that can answer. NumPy, Pillow and libmxnet's C predict API by ctypes, one thing after another.

It checks nothing, routes nothing and measures nothing but its own INIT. What it takes is what any handler in Python
must take, unless it does two things at once.

Environment: ``BENCH_MODEL`` is the folder with the net's files; ``OMP_NUM_THREADS`` sets the threads.
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

import base64  # noqa: E402
import ctypes  # noqa: E402
from typing import TYPE_CHECKING, Any  # noqa: E402

if TYPE_CHECKING:
    from numpy.typing import NDArray

INPUT_SHAPE = (1, 3, 224, 224)
CLASSES = 1000
CPU = 1

# Installed beside NumPy, wherever that is: cheaper than asking the import system.
_site_packages = os.path.dirname(os.path.dirname(np.__file__))
_library = ctypes.CDLL(os.path.join(_site_packages, "mxnet", "libmxnet.so"))
_library.MXGetLastError.restype = ctypes.c_char_p
_library_loaded = time.perf_counter()


def check(code: int) -> None:
    """Raise MXNet's own message where a call failed."""
    if code != 0:
        raise RuntimeError(_library.MXGetLastError().decode())


def read_file(name: str) -> bytes:
    """One of the net's files."""
    with open(os.path.join(os.environ["BENCH_MODEL"], name), "rb") as file:
        return file.read()


def create_predictor() -> ctypes.c_void_p:
    """Load the net with one input, ``data``, of INPUT_SHAPE."""
    symbol, params = read_file("mobilenet-symbol.json"), read_file("mobilenet-0000.params")
    names = (ctypes.c_char_p * 1)(b"data")
    bounds = (ctypes.c_uint * 2)(0, len(INPUT_SHAPE))
    shape = (ctypes.c_uint * len(INPUT_SHAPE))(*INPUT_SHAPE)
    handle = ctypes.c_void_p()
    size = ctypes.c_int(len(params))
    check(_library.MXPredCreate(symbol, params, size, CPU, 0, 1, names, bounds, shape, ctypes.byref(handle)))
    return handle


def forward(batch: NDArray[np.float32]) -> NDArray[np.float32]:
    """Run the net once; return the logits, shape (1000,)."""
    floats = ctypes.POINTER(ctypes.c_float)
    logits = np.empty(CLASSES, dtype=np.float32)
    check(_library.MXPredSetInput(_predictor, b"data", batch.ctypes.data_as(floats), ctypes.c_uint(batch.size)))
    check(_library.MXPredForward(_predictor))
    check(_library.MXPredGetOutput(_predictor, 0, logits.ctypes.data_as(floats), ctypes.c_uint(CLASSES)))
    return logits


_predictor = create_predictor()
_labels = read_file("synset.txt").decode().splitlines()
_loaded = time.perf_counter()


def lambda_handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Answer an HTTP API (payload 2.0) event whose body is a base64 JPEG."""
    classes = top_classes(forward(to_batch(base64.b64decode(event["body"]))), _labels)
    return {
        "statusCode": 200,
        "headers": {"content-type": "application/json"},
        "body": json.dumps({"prediction": classes}),
        "isBase64Encoded": False,
    }


_phases = {
    "numpy": _numpy_loaded - _started,
    "pillow": _pillow_loaded - _numpy_loaded,
    "libmxnet": _library_loaded - _pillow_loaded,
    "load": _loaded - _library_loaded,
}
print(json.dumps({"init": {name: round(1000 * seconds, 3) for name, seconds in _phases.items()}}), flush=True)
