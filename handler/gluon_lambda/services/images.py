"""From an image file to the array that a net takes.

The steps, in their order: decode (EXIF orientation applied, transparency on white) → color → resize → center crop → invert →
scale → (x - mean) / std → layout → batch axis.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache
from io import BytesIO
from itertools import cycle
from math import gcd
from typing import TYPE_CHECKING, Any, NamedTuple

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
# Where Pillow keeps what a JPEG file says about itself, and finds the orientation in (Image.getexif).
_ABOUT_A_JPEG = ("exif", "xmp")

# Pillow hands PostScript, a programming language, to Ghostscript where that is installed.
RUN_PROGRAMS = frozenset({"EPS"})

# A file of kilobytes may decode to gigabytes. At the worst (RGBA) there are four copies of 4 bytes a pixel at a time: the image, its white
# ground, both combined, and that in the net's color.
BYTES_A_PIXEL = 16
# 64 MB, which a function that runs MXNet at all has; looking takes longer than a small image.
ALWAYS_ENOUGH_PIXELS = 4_000_000

# mallopt(3): numbers of malloc.h. Setting one of them ends glibc's own adapting of both, so both are set.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 64 << 20
_LARGEST_ON_THE_HEAP = 32 << 20  # glibc takes no more

_BILINEAR = 2  # Image.Resampling's, without looking it up

# Whole numbers below this are exact in a 32-bit float.
_EXACT_IN_A_FLOAT = 1 << 24


def load_codecs() -> None:
    """Import Pillow and its usual formats (BMP, GIF, JPEG, PPM, PNG) now, so that no request has to."""
    from PIL import Image  # lazy: only image services need it, but each of their requests does

    Image.preinit()
    _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Have the C library keep what images have freed, for the next one.

    By itself glibc returns to the system what is free at a heap's end beyond 32 MB at the most, and a photograph of 9 megapixels takes
    more: with each one the memory would be mapped anew, page by page, for a fifth of the request's time. A process that has decoded such a
    photograph has had that much anyway; a model of the store that must go still gives its memory back (malloc_trim).
    """
    import ctypes  # lazy: with Pillow, above

    set_option = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc's own
    if set_option is not None:
        set_option(_M_MMAP_THRESHOLD, _LARGEST_ON_THE_HEAP)
        set_option(_M_TRIM_THRESHOLD, _KEPT_BYTES)


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
    return _normalised(_sized(_colored(_decode(raw, steps.name), steps), steps), steps)


def _decode(raw: bytes, name: str) -> Image:
    import PIL.Image as Pillow  # lazy: see load_codecs. In this form it costs a look into sys.modules, with "from PIL" a call

    if not raw:
        raise MalformedBody(f"Input {name!r} is no whole image (0 bytes): it is empty. Send an image file.")
    try:
        image: Image = Pillow.open(BytesIO(raw))
        announced = image.size
        _check_file(image.format, announced, name, most_pixels=Pillow.MAX_IMAGE_PIXELS)
        image.load()
        if image.size != announced:  # an icon's file may hold a larger image than it says
            _check_pixels(image.size, name, most=Pillow.MAX_IMAGE_PIXELS)
    except (Pillow.DecompressionBombError, Pillow.DecompressionBombWarning) as error:
        raise InputMismatch(f"Input {name!r}: {error}; send a smaller image.") from error
    except PILLOW_ERRORS as error:
        raise MalformedBody(
            f"Input {name!r} is no whole image ({len(raw):,} bytes): {_reason(error)}. Send the file as it is, say PNG or JPEG."
        ) from error
    return _upright(image)


def _check_file(kind: str | None, size: tuple[int, int], name: str, *, most_pixels: int | None) -> None:
    """Refuse what decoding would run a program for, or more memory than there is; nothing has been decoded yet."""
    if kind in RUN_PROGRAMS:
        raise InputMismatch(f"Input {name!r} is {kind}, which is not read; send PNG or JPEG.")
    _check_pixels(size, name, most=most_pixels)
    if is_too_large(size[0] * size[1], available_bytes):
        raise InputMismatch(
            f"Input {name!r} is {_shown(size)}, too many for the memory that is free; send a smaller image, or raise MemorySize."
        )


def _check_pixels(size: tuple[int, int], name: str, *, most: int | None) -> None:
    """Refuse what Pillow only warns of, up to twice its limit; a filter for that warning would be the whole process's."""
    pixels = size[0] * size[1]
    if most and pixels > most:
        raise InputMismatch(
            f"Input {name!r} has {pixels} pixels, and no more than {most} are decoded; send a smaller image."
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
    if image.format == "JPEG" and image.info.keys().isdisjoint(_ABOUT_A_JPEG):
        return image  # before Pillow sets up all that it could read out of metadata
    try:
        orientation = image.getexif().get(EXIF_ORIENTATION, 1)
    except PILLOW_ERRORS:  # the pixels are whole; what is said about them is not, and counts as not said
        return image
    return image if orientation == 1 else _turned(image, orientation)


def _turned(image: Image, orientation: Any) -> Image:
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
    turn = turns.get(orientation)
    return image if turn is None else image.transpose(turn)


def _colored(image: Image, steps: ImageSteps) -> Image:
    if image.mode == steps.color and "transparency" not in image.info:
        return image
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


def _sized(image: Image, steps: ImageSteps) -> Image:
    cut = _cut(image.size, steps)
    if cut.edges:
        image = image.resize(cut.made, _BILINEAR, cut.edges)
    return image.crop(cut.rest) if cut.rest else image


class Cut(NamedTuple):
    """How images of one size are resized and cropped.

    Attributes:
        edges: What is resized: left, upper, right and lower edge in the image's own pixels; None where nothing is.
        made: Width and height that come of it.
        rest: What is kept of that, in its pixels; None where all is.
    """

    edges: tuple[float, float, float, float] | None
    made: tuple[int, int]
    rest: tuple[int, int, int, int] | None


@lru_cache(maxsize=256)  # most clients send images of a few sizes
def _cut(size: tuple[int, int], steps: ImageSteps) -> Cut:
    """What to do with images of this ``size``; what the crop would throw away is not computed first, where that gives the same pixels."""
    made = size if steps.resize is None else _resized_size(size, steps.resize, steps.name)
    columns, rows = _kept(made, steps)
    if made == size:
        return Cut(None, size, (columns.start, rows.start, columns.stop, rows.stop) if steps.crop else None)
    across, down = stretch(size[0], made[0], columns), stretch(size[1], made[1], rows)
    edges = (across.first, down.first, across.last, down.last)
    rest = (across.left, down.left, across.left + len(columns), down.left + len(rows))
    return Cut(edges, (across.made, down.made), None if rest == (0, 0, across.made, down.made) else rest)


def _resized_size(size: tuple[int, int], resize: int | tuple[int, int], name: str) -> tuple[int, int]:
    import PIL.Image as Pillow  # lazy: see load_codecs

    width, height = target_size(size, resize)
    if width * height > (Pillow.MAX_IMAGE_PIXELS or width * height):
        raise InputMismatch(f"Input {name!r} is {_shown(size)}: resized it would have {width * height:,} pixels.")
    return width, height


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


def _kept(made: tuple[int, int], steps: ImageSteps) -> tuple[range, range]:
    """Which columns and rows the crop keeps of an image of the size ``made``."""
    if steps.crop is None:
        return range(made[0]), range(made[1])
    height, width = steps.crop
    left, top = (made[0] - width) // 2, (made[1] - height) // 2
    if left < 0 or top < 0:
        raise InputMismatch(
            f"Input {steps.name!r} is {_shown(made)} after resizing; at least {width}x{height} is needed."
        )
    return range(left, left + width), range(top, top + height)


class Stretch(NamedTuple):
    """How one side of an image is resized to what is kept of it.

    Attributes:
        first: Where the part that is resized begins, in the image's own pixels;
        last: where it ends.
        made: How many pixels come of it.
        left: Which of them is the first that is kept.
    """

    first: float
    last: float
    made: int
    left: int


def stretch(length: int, made: int, kept: range) -> Stretch:
    """Resize a side of ``length`` pixels to ``made`` of which some are ``kept``, with the pixels that resizing all of it gives.

    Pillow computes a part alone from its edges, which it takes as 32-bit floats; the pixels are the same where every place on the way
    is exact: where length / made is a whole number of halves, quarters, eighths, … as it is along the shorter side for 256 and the like.
    """
    common = gcd(length, made)
    step, parts = length // common, made // common
    if parts & (parts - 1) or step * kept.stop >= _EXACT_IN_A_FLOAT:
        return Stretch(0, length, made, kept.start)
    return Stretch(kept.start * step / parts, kept.stop * step / parts, len(kept), 0)


def _normalised(image: Image, steps: ImageSteps) -> Array:
    _check_size(image, steps)
    (width, height), channels = image.size, CHANNELS[steps.color]
    first = steps.layout == "NCHW"
    array = np.empty((1, channels, height, width) if first else (1, height, width, channels), np.float32)
    planes = array[0] if first else array[0].transpose(2, 0, 1)
    # A channel at a time and in place: an operation on all with three numbers takes ten times as long.
    for plane, band, mean, std in zip(planes, steps.color, cycle(steps.mean), cycle(steps.std), strict=False):
        # Pillow takes the channels apart in half the time that NumPy takes to step over the others.
        pixels = np.frombuffer(image.tobytes("raw", band), np.uint8).reshape(height, width)
        levels = np.subtract(np.float32(255), pixels, out=plane) if steps.invert else pixels
        np.multiply(levels, np.float32(steps.scale), out=plane)
        np.subtract(plane, np.float32(mean), out=plane)
        np.divide(plane, np.float32(std), out=plane)
    whole = np.dtype(steps.dtype).kind in "iu"
    return (np.rint(array) if whole else array).astype(steps.dtype, copy=False)


def _check_size(image: Image, steps: ImageSteps) -> None:
    width, height = image.size
    if not fits((height, width), steps.size):
        raise InputMismatch(
            f"Input {steps.name!r} is {width}x{height} pixels; the model takes {steps.size[1]}x{steps.size[0]} (0: any)."
        )


def _shown(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]} pixels"
