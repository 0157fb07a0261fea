"""What ``signature.json`` declares of an image input: the steps from a decoded image to the array, checked at load."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any, NamedTuple

from gluon_lambda.errors import SignatureInvalid

if TYPE_CHECKING:
    from gluon_lambda.archive_store.signature import InputDeclaration

STEPS = frozenset({"color", "resize", "crop", "scale", "mean", "std", "layout", "invert"})
CHANNELS = {"RGB": 3, "L": 1}
LAYOUTS = ("NCHW", "NHWC")


class ImageSteps(NamedTuple):
    """What is done to an image, checked and with its defaults.

    Attributes:
        name: The input.
        color: ``RGB`` or ``L`` (grey).
        resize: The shorter side (the aspect stays), height and width, or None.
        crop: Height and width cut out of the middle, or None.
        invert: Whether 255 - x is taken, for dark on light where the net learnt light on dark.
        scale: Factor, after which come
        mean: per channel, or one for all;
        std: per channel, or one for all.
        layout: ``NCHW`` or ``NHWC``.
        dtype: NumPy's name.
        size: Height and width that the net gets; 0 for any.
    """

    name: str
    color: str
    resize: int | tuple[int, int] | None
    crop: tuple[int, int] | None
    invert: bool
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    layout: str
    dtype: str
    size: tuple[int, int]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The shape of the array that comes of one image; 0 for any size."""
        channels = CHANNELS[self.color]
        return (1, channels, *self.size) if self.layout == "NCHW" else (1, *self.size, channels)


def parse_steps(declared: InputDeclaration, *, where: str) -> ImageSteps:
    """Check an input's ``preprocess`` and fill in its defaults.

    Without ``resize`` and ``crop`` the image is resized to the declared height and width, as MMS 0.4's vision service does.

    Args:
        declared: The input; four dimensions, the first being the batch.
        where: Archive and file, for errors.

    Raises:
        SignatureInvalid: A step is unknown, malformed, or does not lead to the declared shape.
    """
    where = f"{where}: input {declared.name!r}"
    given = declared.preprocess
    if unknown := sorted(given.keys() - STEPS):
        raise SignatureInvalid(f"{where}: preprocess has no {unknown[0]!r}. Known: {', '.join(sorted(STEPS))}.")
    layout = _one_of(given.get("layout", "NCHW"), LAYOUTS, where=f"{where}: preprocess.layout")
    channels, height, width = _image_shape(declared.shape, layout, where=where)
    default_color = "L" if channels == 1 else "RGB"
    color = _one_of(given.get("color", default_color), tuple(CHANNELS), where=f"{where}: preprocess.color")
    steps = ImageSteps(
        declared.name,
        color,
        _resize(given.get("resize"), where=f"{where}: preprocess.resize"),
        _pair(given.get("crop"), where=f"{where}: preprocess.crop"),
        _flag(given.get("invert", False), where=f"{where}: preprocess.invert"),
        _numbers(given.get("scale", 1.0), 1, where=f"{where}: preprocess.scale")[0],
        _numbers(given.get("mean", 0.0), CHANNELS[color], where=f"{where}: preprocess.mean"),
        _numbers(given.get("std", 1.0), CHANNELS[color], where=f"{where}: preprocess.std"),
        layout,
        declared.dtype,
        (height, width),
    )
    return _consistent(steps, channels, where=where)


def _consistent(steps: ImageSteps, channels: int, *, where: str) -> ImageSteps:
    if channels not in (0, CHANNELS[steps.color]):
        raise SignatureInvalid(
            f"{where}: data_shape has {channels} channels, and {steps.color} has {CHANNELS[steps.color]}."
        )
    if 0.0 in steps.std:
        raise SignatureInvalid(f"{where}: preprocess.std is 0, by which nothing can be divided.")
    if steps.resize is None and steps.crop is None and 0 not in steps.size:
        steps = steps._replace(resize=steps.size)
    made = steps.crop or (steps.resize if isinstance(steps.resize, tuple) else steps.size)
    if not fits(made, steps.size):
        raise SignatureInvalid(f"{where}: preprocess makes {made} (height, width), and data_shape has {steps.size}.")
    return steps._replace(size=made)


def fits(size: tuple[int, int], wanted: tuple[int, int]) -> bool:
    """Whether height and width are the wanted ones, of which 0 means any."""
    return wanted[0] in (0, size[0]) and wanted[1] in (0, size[1])


def _image_shape(shape: tuple[int, ...], layout: str, *, where: str) -> tuple[int, int, int]:
    if len(shape) != 4 or shape[0] > 1:
        raise SignatureInvalid(
            f"{where}: an image input's data_shape has four dimensions with 0 or 1 for the batch, "
            f"such as [0, 3, 224, 224]; it is {list(shape)}."
        )
    return shape[1:4] if layout == "NCHW" else (shape[3], shape[1], shape[2])


def _one_of(value: Any, accepted: tuple[str, ...], *, where: str) -> str:
    if value not in accepted:
        raise SignatureInvalid(f"{where} is {value!r}. Accepted: {', '.join(accepted)}.")
    return str(value)


def _flag(value: Any, *, where: str) -> bool:
    if not isinstance(value, bool):
        raise SignatureInvalid(f"{where} is {value!r}. Accepted: true, false.")
    return value


def _is_side(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _pair(value: Any, *, where: str) -> tuple[int, int] | None:
    if value is None:
        return None
    if not (isinstance(value, list) and len(value) == 2 and all(map(_is_side, value))):
        raise SignatureInvalid(f"{where} is {value!r}. Accepted: [height, width] in pixels.")
    return value[0], value[1]


def _resize(value: Any, *, where: str) -> int | tuple[int, int] | None:
    return int(value) if _is_side(value) else _pair(value, where=f"{where} (or the shorter side as one number)")


def _numbers(value: Any, channels: int, *, where: str) -> tuple[float, ...]:
    values = value if isinstance(value, list) else [value]
    if len(values) not in (1, channels) or not all(type(each) in (int, float) and isfinite(each) for each in values):
        raise SignatureInvalid(f"{where} is {value!r}. Accepted: a number, or a list of {channels}.")
    return tuple(float(each) for each in values)
