"""``mms.utils.mxnet.image``: images as NDArrays (MMS 0.4: mms/utils/mxnet/image.py)."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import Any

import mxnet as mx

# Not by way of mx.image, which would be loaded by the first request: who imports this file wants it in INIT.
from mxnet.image import image as mxnet_image


def transform_shape(img_arr: Any, dim_order: str = "NCHW") -> Any:
    """Turn an image of shape HWC into ``NCHW`` or ``NHWC``, with a batch axis of one."""
    assert dim_order in ("NCHW", "NHWC"), "dim_order must be 'NCHW' or 'NHWC'."
    ordered = mx.nd.transpose(img_arr, (2, 0, 1)) if dim_order == "NCHW" else img_arr
    return mx.nd.expand_dims(ordered, axis=0)


def read(buf: Any, flag: int = 1, to_rgb: bool = True, out: Any = None) -> Any:
    """Decode an image file's bytes to an NDArray of shape HWC, uint8; ``flag`` 0 for grey."""
    return mxnet_image.imdecode(buf, flag, to_rgb, out)


def write(img_arr: Any, flag: int = 1, format: str = "jpeg", dim_order: str = "CHW") -> str:  # noqa: A002 - MMS's name
    """Encode an NDArray of shape CHW or HWC as an image file, in base64 text; ``flag`` 0 for grey."""
    # Only services that answer with an image need Pillow.
    from PIL import Image

    assert dim_order in ("CHW", "HWC"), "dim_order must be 'CHW' or 'HWC'."
    pixels = (mx.nd.transpose(img_arr, (1, 2, 0)) if dim_order == "CHW" else img_arr).astype("uint8").asnumpy()
    image = Image.fromarray(pixels) if flag == 1 else Image.fromarray(pixels.reshape(pixels.shape[:2]))
    encoded = BytesIO()
    image.save(encoded, format=format)
    return base64.b64encode(encoded.getvalue()).decode("ascii")


def resize(src: Any, new_width: int, new_height: int, interp: int = 2) -> Any:
    """Resize an image of shape HWC; ``interp`` as in OpenCV."""
    return mxnet_image.imresize(src, new_width, new_height, interp)


def fixed_crop(src: Any, x0: int, y0: int, w: int, h: int, size: Any = None, interp: int = 2) -> Any:
    """Cut a rectangle out of an image of shape HWC, and resize it to ``size`` (width, height) where given."""
    return mxnet_image.fixed_crop(src, x0, y0, w, h, size, interp)


def color_normalize(src: Any, mean: Any, std: Any = None) -> Any:
    """Subtract ``mean`` and divide by ``std``, in float32."""
    return mxnet_image.color_normalize(src.astype("float32"), mean, std)
