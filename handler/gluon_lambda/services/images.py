"""From an image file to the array that a net takes.

The steps, in their order: decode (EXIF orientation applied, transparency on white) → color → resize → center crop → invert →
scale → (x - mean) / std → layout → batch axis.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from gluon_lambda.errors import InputMismatch, MalformedBody
from gluon_lambda.services.image_steps import CHANNELS, ImageSteps, fits

if TYPE_CHECKING:
    from PIL.Image import Image

    from gluon_lambda.types import Array

# What Pillow raises on garbled and truncated files; which one depends on the format and on where it breaks.
PILLOW_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    struct.error,
)

EXIF_ORIENTATION = 0x0112

# Pillow hands PostScript, a programming language, to Ghostscript where that is installed.
RUN_PROGRAMS = frozenset({"EPS"})

# A file of kilobytes may decode to gigabytes. At the worst (RGBA) there are four copies of 4 bytes a pixel at a time: the image, its white
# ground, both combined, and that in the net's color.
BYTES_A_PIXEL = 16
# 64 MB, which a function that runs MXNet at all has; looking takes longer than a small image.
ALWAYS_ENOUGH_PIXELS = 4_000_000


def load_codecs() -> None:
    """Import Pillow and its usual formats (BMP, GIF, JPEG, PPM, PNG) now, so that no request has to."""
    from PIL import Image  # lazy: only image services need it, but each of their requests does

    Image.preinit()


def image_array(raw: bytes, steps: ImageSteps) -> Array:
    """Decode an image and take it through its steps.

    Args:
        raw: A file of any format that Pillow reads; of several frames the first.
        steps: What the signature declares.

    Returns:
        An array of shape (1, C, H, W) or (1, H, W, C), of the steps' dtype.

    Raises:
        MalformedBody: No image, truncated or garbled.
        InputMismatch: Too many pixels, or too small for the crop, or not of the size that the net takes.
    """
    with warnings.catch_warnings():
        # Pillow's remarks on odd metadata would end up on stderr, beside the log; its warning of a bomb is a refusal here.
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", "Image size", RuntimeWarning)
        image = _decode(raw, steps.name)
        image = _cropped(_resized(_colored(image, steps), steps), steps)
    return _normalised(np.asarray(image), steps)


def _decode(raw: bytes, name: str) -> Image:
    from PIL import Image  # lazy: see load_codecs

    if not raw:
        raise MalformedBody(f"Input {name!r} is no whole image (0 bytes): it is empty. Send an image file.")
    try:
        image: Image.Image = Image.open(BytesIO(raw))
        _check_file(image, name)
        image.load()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputMismatch(f"Input {name!r}: {error}; send a smaller image.") from error
    except PILLOW_ERRORS as error:
        raise MalformedBody(
            f"Input {name!r} is no whole image ({len(raw):,} bytes): {_reason(error)}. Send the file as it is, say PNG or JPEG."
        ) from error
    return _upright(image)


def _check_file(image: Image, name: str) -> None:
    """Refuse what decoding would run a program for, or more memory than there is; nothing has been decoded yet."""
    if image.format in RUN_PROGRAMS:
        raise InputMismatch(f"Input {name!r} is {image.format}, which is not read; send PNG or JPEG.")
    if is_too_large(image.width * image.height, available_bytes):
        raise InputMismatch(
            f"Input {name!r} is {_size(image)}, too many for the memory that is free; send a smaller image, or raise MemorySize."
        )


def is_too_large(pixels: int, available: Callable[[], int]) -> bool:
    """Whether an image of so many pixels takes more memory than is ``available``, which is asked for large images only."""
    return pixels > ALWAYS_ENOUGH_PIXELS and pixels * BYTES_A_PIXEL > available()


def available_bytes() -> int:
    """What may still be allocated without swapping: Linux's estimate, or 2^60 where there is none."""
    try:
        with open("/proc/meminfo") as lines:
            return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), 1 << 60)
    except OSError:
        return 1 << 60


def _reason(error: Exception) -> str:
    text = str(error)
    return "Pillow knows no such format" if text.startswith("cannot identify") else text or type(error).__name__


def _upright(image: Image) -> Image:
    from PIL.Image import Transpose  # lazy: see load_codecs

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    try:
        turn = turns.get(image.getexif().get(EXIF_ORIENTATION, 1))
    except PILLOW_ERRORS:  # the pixels are whole; what is said about them is not, and counts as not said
        return image
    return image if turn is None else image.transpose(turn)


def _colored(image: Image, steps: ImageSteps) -> Image:
    if image.mode == "F":  # TIFF holds floats, whose range nothing tells
        raise InputMismatch(f"Input {steps.name!r} is an image of floating-point pixels; send one of 8 or 16 bits.")
    if image.mode.startswith("I"):
        image = _eight_bits(image)
    elif image.has_transparency_data:
        image = _on_white(image)
    elif image.mode == "LAB":  # Pillow goes to grey by way of RGB only
        image = image.convert("RGB")
    return image if image.mode == steps.color else image.convert(steps.color)


def _eight_bits(image: Image) -> Image:
    from PIL import Image as Pillow  # lazy: see load_codecs

    # Pillow's own conversion cuts 16 bits off at 255.
    return Pillow.fromarray((np.asarray(image).clip(0, 65535) / 257).round().astype(np.uint8))


def _on_white(image: Image) -> Image:
    from PIL import Image as Pillow  # lazy: see load_codecs

    layered = image.convert("RGBA")
    return Pillow.alpha_composite(Pillow.new("RGBA", layered.size, "white"), layered)


def _resized(image: Image, steps: ImageSteps) -> Image:
    from PIL import Image as Pillow  # lazy: see load_codecs

    if steps.resize is None:
        return image
    width, height = target_size(image.size, steps.resize)
    if width * height > (Pillow.MAX_IMAGE_PIXELS or width * height):
        raise InputMismatch(f"Input {steps.name!r} is {_size(image)}: resized it would have {width * height:,} pixels.")
    return image if (width, height) == image.size else image.resize((width, height), Pillow.Resampling.BILINEAR)


def target_size(size: tuple[int, int], resize: int | tuple[int, int]) -> tuple[int, int]:
    """Width and height after resizing; for a shorter side as ``mx.image.resize_short`` rounds it, down.

    Args:
        size: Width and height.
        resize: The shorter side, or height and width.
    """
    if isinstance(resize, tuple):
        return resize[1], resize[0]
    width, height = size
    return (resize, resize * height // width) if width < height else (resize * width // height, resize)


def _cropped(image: Image, steps: ImageSteps) -> Image:
    if steps.crop is None:
        return image
    height, width = steps.crop
    left, top = (image.width - width) // 2, (image.height - height) // 2
    if left < 0 or top < 0:
        raise InputMismatch(
            f"Input {steps.name!r} is {_size(image)} after resizing; at least {width}x{height} is needed."
        )
    return image.crop((left, top, left + width, top + height))


def _normalised(pixels: Array, steps: ImageSteps) -> Array:
    _check_size(pixels, steps)
    array = pixels.astype(np.float32)
    if steps.invert:
        array = 255 - array
    array = (array * np.float32(steps.scale) - np.array(steps.mean, np.float32)) / np.array(steps.std, np.float32)
    array = array.reshape(*pixels.shape[:2], CHANNELS[steps.color])
    if steps.layout == "NCHW":
        array = array.transpose(2, 0, 1)
    whole = np.dtype(steps.dtype).kind in "iu"
    return np.ascontiguousarray((np.rint(array) if whole else array)[None], dtype=steps.dtype)


def _check_size(pixels: Array, steps: ImageSteps) -> None:
    height, width = pixels.shape[:2]
    if not fits((height, width), steps.size):
        raise InputMismatch(
            f"Input {steps.name!r} is {width}x{height} pixels; the model takes {steps.size[1]}x{steps.size[0]} (0: any)."
        )


def _size(image: Image) -> str:
    return f"{image.width}x{image.height} pixels"
