from __future__ import annotations

import os
import struct
import subprocess
import sys
import zlib
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gluon_lambda.archive_store.signature import InputDeclaration
from gluon_lambda.errors import InputMismatch, MalformedBody, SignatureInvalid
from gluon_lambda.services.image_steps import ImageSteps, parse_steps
from gluon_lambda.services.images import (
    ALWAYS_ENOUGH_PIXELS,
    available_bytes,
    image_array,
    is_too_large,
    stretch,
    target_size,
)
from tests.exported_net import file_of


def steps(shape: tuple[int, ...] = (0, 3, 0, 0), dtype: str = "float32", **preprocess: Any) -> ImageSteps:
    return parse_steps(InputDeclaration("data", shape, dtype, preprocess), where="signature.json")


def gradient(width: int = 16, height: int = 12) -> Image.Image:
    """Every pixel its own colour, so that no turn or swap goes unseen."""
    rows, columns = np.mgrid[0:height, 0:width].astype(np.uint8)
    return Image.fromarray(np.stack([rows * 10, columns * 10, rows + columns], axis=2))


def pixels(raw: bytes, **preprocess: Any) -> np.ndarray[Any, Any]:
    """Height, width, channels of what the net gets."""
    return np.asarray(image_array(raw, steps((0, 0, 0, 0), layout="NHWC", **preprocess))[0])


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(7).integers(0, 255, (height, width, 3), dtype=np.uint8))


def test_a_plain_image_arrives_as_its_pixels_channels_first() -> None:
    array = image_array(file_of(gradient()), steps())

    assert array.shape == (1, 3, 12, 16)
    assert array.dtype == np.float32
    assert array.flags["C_CONTIGUOUS"]
    assert np.array_equal(array[0].transpose(1, 2, 0), np.asarray(gradient()))


def test_channels_last_is_the_same_turned() -> None:
    assert np.array_equal(pixels(file_of(gradient())), np.asarray(gradient()))


def test_scale_mean_and_deviation_come_in_this_order() -> None:
    raw = file_of(Image.new("RGB", (2, 2), (255, 51, 0)))

    array = image_array(raw, steps(scale=1 / 255, mean=[0.5, 0.1, 0.0], std=[0.25, 0.5, 2]))

    assert array[0, :, 0, 0] == pytest.approx([2.0, 0.2, 0.0])


def test_invert_comes_before_scale() -> None:
    raw = file_of(Image.new("L", (2, 2), 51))

    assert image_array(raw, steps((0, 1, 0, 0), invert=True, scale=1 / 255)).max() == pytest.approx(0.8)


def test_one_number_stands_for_all_channels() -> None:
    raw = file_of(Image.new("RGB", (2, 2), (4, 6, 8)))

    assert image_array(raw, steps(mean=2, std=[2]))[0, :, 0, 0].tolist() == [1, 2, 3]


def test_whole_number_types_are_rounded_not_cut() -> None:
    raw = file_of(Image.new("L", (1, 1), 200))

    array = image_array(raw, steps((0, 1, 0, 0), dtype="uint8", scale=0.999))

    assert array.dtype == np.uint8
    assert array.item() == 200


def test_without_steps_the_image_is_resized_to_the_declared_shape() -> None:
    assert image_array(file_of(gradient(50, 20)), steps((0, 3, 4, 6))).shape == (1, 3, 4, 6)


def test_a_pair_is_height_and_width() -> None:
    assert image_array(file_of(gradient()), steps(resize=[5, 9])).shape == (1, 3, 5, 9)


@pytest.mark.parametrize(
    ("size", "short", "made"),
    [((640, 480), 256, (341, 256)), ((480, 640), 256, (256, 341)), ((3, 3), 8, (8, 8)), ((1, 7), 2, (2, 14))],
)
def test_a_shorter_side_keeps_the_aspect(size: tuple[int, int], short: int, made: tuple[int, int]) -> None:
    assert target_size(size, short) == made


def test_the_crop_is_the_middle() -> None:
    array = pixels(file_of(gradient()), crop=[4, 6])

    assert np.array_equal(array, np.asarray(gradient())[4:8, 5:11])


def test_resize_comes_before_crop() -> None:
    assert image_array(file_of(gradient(40, 20)), steps((0, 3, 8, 8), resize=10, crop=[8, 8])).shape == (1, 3, 8, 8)


SIZES = [(600, 400), (640, 480), (480, 640), (512, 512), (300, 200), (97, 250), (128, 96), (1000, 257), (37, 31)]


@pytest.mark.parametrize("resize", [256, 64, 50, [192, 288], [77, 301]])
@pytest.mark.parametrize("size", SIZES)
def test_resizing_only_what_the_crop_keeps_gives_the_pixels_of_resizing_all(
    size: tuple[int, int], resize: int | list[int]
) -> None:
    image = noise(*size)
    made = target_size(size, resize if isinstance(resize, int) else (resize[0], resize[1]))
    wide, high = made[0] * 2 // 3, made[1] * 3 // 4
    left, top = (made[0] - wide) // 2, (made[1] - high) // 2
    all_of_it = image.resize(made, Image.Resampling.BILINEAR)

    array = pixels(file_of(image), resize=resize, crop=[high, wide])

    assert np.array_equal(array, np.asarray(all_of_it.crop((left, top, left + wide, top + high))))


def test_what_the_crop_throws_away_is_not_computed_where_pillow_is_exact() -> None:
    assert stretch(600, 384, range(80, 304)) == (125.0, 475.0, 224, 0)
    assert stretch(3024, 256, range(16, 240)) == (189.0, 2835.0, 224, 0)
    assert stretch(4032, 341, range(58, 282)) == (0, 4032, 341, 58)  # 4032 / 341 is no fraction of a power of two
    assert stretch(2**20 + 1, 256, range(16, 240)) == (0, 2**20 + 1, 256, 16)  # its edges are no 32-bit floats


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64", "uint8", "int32"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("color", ["RGB", "L"])
def test_the_numbers_are_those_of_the_formula_in_float32(color: str, layout: str, dtype: str) -> None:
    raw, channels = file_of(noise(9, 7).convert(color)), 3 if color == "RGB" else 1
    mean, std = [0.1, 0.2, 0.3][:channels], [0.5, 0.25, 0.7][:channels]

    array = image_array(
        raw, steps((0, 0, 0, 0), dtype, color=color, layout=layout, scale=1.7, mean=mean, std=std, invert=True)
    )

    plain = np.asarray(noise(9, 7).convert(color)).reshape(7, 9, channels).astype(np.float32)
    wanted = ((255 - plain) * np.float32(1.7) - np.array(mean, np.float32)) / np.array(std, np.float32)
    wanted = np.rint(wanted) if dtype in ("uint8", "int32") else wanted
    assert array.dtype == np.dtype(dtype)
    assert array.flags["C_CONTIGUOUS"]
    assert np.array_equal(array[0].transpose(1, 2, 0) if layout == "NCHW" else array[0], wanted.astype(dtype))


def test_an_image_smaller_than_the_crop_is_refused_with_both_sizes() -> None:
    with pytest.raises(InputMismatch, match=r"'data' is 16x12 pixels after resizing; at least 8x13"):
        image_array(file_of(gradient()), steps(crop=[13, 8]))


def test_an_image_of_another_size_than_the_net_takes_is_refused() -> None:
    with pytest.raises(InputMismatch, match=r"is 24x10 pixels; the model takes 6x0"):
        image_array(file_of(gradient(24, 10)), steps((0, 3, 0, 6), resize=10))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_that_a_camera_notes_is_applied(orientation: int) -> None:
    turned: dict[int, Any] = {  # how a camera that notes this holds the upright image
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }
    upright = np.asarray(gradient())
    stored = Image.fromarray(np.ascontiguousarray(turned[orientation](upright)))
    exif = Image.Exif()
    exif[0x0112] = orientation

    assert np.array_equal(pixels(file_of(stored, exif=exif)), upright)


def test_garbled_metadata_does_not_refuse_a_whole_image() -> None:
    raw = file_of(gradient(), "JPEG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")

    assert pixels(raw).shape == (12, 16, 3)


@pytest.mark.parametrize("color", ["RGB", "L"])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "LAB"])
def test_every_mode_of_pixels_becomes_the_declared_colour(mode: str, color: str) -> None:
    white = (
        Image.new("LAB", (5, 4), (255, 128, 128)) if mode == "LAB" else Image.new("RGB", (5, 4), "white").convert(mode)
    )

    array = pixels(file_of(white, "TIFF"), color=color)

    assert array.shape == (4, 5, 3 if color == "RGB" else 1)
    assert array.min() >= 254


def test_a_cmyk_photograph_keeps_its_colours() -> None:
    red = Image.new("CMYK", (8, 8), (0, 255, 255, 0))

    assert pixels(file_of(red, "JPEG", quality=100))[0, 0] == pytest.approx([255, 0, 0], abs=3)


def test_a_palette_is_looked_up() -> None:
    green = Image.new("RGB", (4, 4), (0, 200, 0)).convert("P", palette=Image.Palette.ADAPTIVE)

    assert pixels(file_of(green))[0, 0].tolist() == [0, 200, 0]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_pixels_are_white_whatever_colour_they_hide(mode: str) -> None:
    clear = Image.new("RGBA", (2, 2), (10, 10, 10, 0))
    clear.putpixel((0, 0), (10, 10, 10, 255))

    array = pixels(file_of(clear.convert(mode)))

    assert array[0, 0].tolist() == [10, 10, 10]
    assert array[1, 1].tolist() == [255, 255, 255]


def test_a_transparent_palette_entry_is_white() -> None:
    image = Image.new("P", (2, 2), 0)
    image.putpalette([9, 9, 9, 200, 0, 0])
    image.putpixel((1, 0), 1)

    array = pixels(file_of(image, transparency=0))

    assert array[0].tolist() == [[255, 255, 255], [200, 0, 0]]


def test_sixteen_bits_are_scaled_not_cut() -> None:
    deep = Image.fromarray(np.array([[0, 257 * 100, 65535]], np.uint16))

    assert pixels(file_of(deep), color="L")[0, :, 0].tolist() == [0, 100, 255]
    assert pixels(file_of(deep, "TIFF"), color="RGB")[0, 1].tolist() == [100, 100, 100]


def test_an_image_of_floats_is_refused_by_the_inputs_name() -> None:
    with pytest.raises(InputMismatch, match="'data' is an image of floating-point pixels"):
        pixels(file_of(Image.new("F", (2, 2), 0.5), "TIFF"))


def test_of_several_frames_the_first_counts() -> None:
    first, second = Image.new("RGB", (3, 3), "red"), Image.new("RGB", (3, 3), "blue")

    assert pixels(file_of(first, "GIF", save_all=True, append_images=[second]))[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9])
def test_a_truncated_image_is_refused(kind: str, share: float) -> None:
    raw = file_of(noise(40, 30), kind)

    with pytest.raises(MalformedBody, match="Input 'data' is no whole image"):
        pixels(raw[: int(len(raw) * share)])


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_a_file_that_was_cut_off_is_refused_unless_every_pixel_came(kind: str) -> None:
    raw = file_of(noise(12, 9), kind)
    whole = pixels(raw)
    for kept in range(0, len(raw), 3):  # what may be missing is a trailer: PNG's last chunk, GIF's last byte
        with suppress(MalformedBody):
            assert np.array_equal(pixels(raw[:kept]), whole)


@pytest.mark.parametrize("raw", [b"", b"no image", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"%PDF-1.7 ", b"\x00" * 999])
def test_what_is_no_image_is_refused(raw: bytes) -> None:
    with pytest.raises(MalformedBody, match=rf"\({len(raw):,} bytes\)"):
        pixels(raw)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_a_garbled_image_is_answered_or_refused_and_nothing_else(kind: str) -> None:
    whole = bytearray(file_of(noise(12, 9), kind))
    for at in range(0, len(whole), max(1, len(whole) // 120)):
        garbled = bytes(whole[:at]) + bytes([whole[at] ^ 0xA5]) + bytes(whole[at + 1 :])
        with suppress(MalformedBody, InputMismatch):
            pixels(garbled)


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it is huge."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">L", len(content)) + kind + content + struct.pack(">L", zlib.crc32(kind + content))

    header = struct.pack(">LLBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [10_000, 60_000])
def test_a_decompression_bomb_is_refused_by_its_header_with_its_size(side: int) -> None:
    with pytest.raises(InputMismatch, match=rf"'data'.*{side * side} pixels.*smaller"):
        pixels(bomb(side, side))


def test_a_thin_image_does_not_blow_up_when_its_shorter_side_is_resized() -> None:
    with pytest.raises(InputMismatch, match="resized it would have"):
        pixels(file_of(Image.new("L", (30_000, 1))), resize=256)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_bomb_is_refused_whatever_the_process_does_with_warnings() -> None:
    with pytest.raises(InputMismatch, match=r"'data' has 100000000 pixels, .* 89478485 .*smaller"):
        pixels(bomb(10_000, 10_000))


def test_pillow_is_loaded_with_the_service_and_not_before() -> None:
    code = (
        "import sys; from gluon_lambda.services import images, builtin, builtin_image; assert 'PIL' not in sys.modules;"
        "images.load_codecs(); assert 'PIL.PngImagePlugin' in sys.modules; assert 'PIL.JpegImagePlugin' in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": "handler"}, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


WRONG: list[tuple[str, tuple[int, ...], dict[str, Any]]] = [
    ("no 'colour'", (0, 3, 4, 4), {"colour": "RGB"}),
    ("color is 'BGR'. Accepted: RGB, L", (0, 3, 4, 4), {"color": "BGR"}),
    ("has 1 channels, and RGB has 3", (0, 1, 4, 4), {"color": "RGB"}),
    ("four dimensions", (0, 3), {}),
    ("0 or 1 for the batch", (8, 3, 4, 4), {}),
    ("layout is 'CHW'", (0, 3, 4, 4), {"layout": "CHW"}),
    ("resize (or the shorter side as one number) is 0", (0, 3, 4, 4), {"resize": 0}),
    ("resize (or the shorter side as one number) is True", (0, 3, 4, 4), {"resize": True}),
    ("resize (or the shorter side as one number) is [4]", (0, 3, 4, 4), {"resize": [4]}),
    ("crop is 4", (0, 3, 4, 4), {"crop": 4}),
    ("crop is [4, -4]", (0, 3, 4, 4), {"crop": [4, -4]}),
    ("makes (5, 4) (height, width), and data_shape has (4, 5)", (0, 3, 4, 5), {"crop": [5, 4]}),
    ("makes (5, 4) (height, width), and data_shape has (4, 5)", (0, 3, 4, 5), {"resize": [5, 4]}),
    ("scale is '1/255'", (0, 3, 4, 4), {"scale": "1/255"}),
    ("scale is [1, 2]", (0, 3, 4, 4), {"scale": [1, 2]}),
    ("mean is [1, 2]", (0, 3, 4, 4), {"mean": [1, 2]}),
    ("mean is nan", (0, 3, 4, 4), {"mean": float("nan")}),
    ("std is 0", (0, 3, 4, 4), {"std": [1, 0, 1]}),
    ("invert is 1", (0, 3, 4, 4), {"invert": 1}),
]


@pytest.mark.parametrize(("message", "shape", "preprocess"), WRONG)
def test_a_wrong_step_is_refused_when_the_archive_is_loaded(
    message: str, shape: tuple[int, ...], preprocess: dict[str, Any]
) -> None:
    with pytest.raises(SignatureInvalid) as refused:
        steps(shape, **preprocess)

    assert message in str(refused.value)
    assert str(refused.value).startswith("signature.json: input 'data'")


def test_the_shape_of_the_array_is_known_beforehand() -> None:
    assert steps((0, 3, 0, 0), resize=256, crop=[224, 200]).shape == (1, 3, 224, 200)
    assert steps((0, 8, 6, 1), layout="NHWC").shape == (1, 8, 6, 1)
    assert steps((0, 3, 0, 0)).shape == (1, 3, 0, 0)


def test_postscript_is_not_handed_to_a_program_that_runs_it() -> None:
    with pytest.raises(InputMismatch, match="EPS, which is not read"):
        image_array(file_of(Image.new("RGB", (6, 4)), "EPS"), steps())


class TestMemory:
    def test_what_a_photograph_has_freed_serves_the_next_one(self) -> None:
        code = (
            "import io, resource; from PIL import Image; from gluon_lambda.services import images;"
            "from gluon_lambda.services.image_steps import ImageSteps;"
            "images.load_codecs(); file = io.BytesIO(); Image.new('RGB', (3600, 2400)).save(file, 'JPEG');"
            "steps = ImageSteps('data', 'RGB', (8, 8), None, False, 1.0, (0.0,), (1.0,), 'NCHW', 'float32', (8, 8));"
            "faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt;"
            "images.image_array(file.getvalue(), steps); before = faults();"
            "images.image_array(file.getvalue(), steps); print(faults() - before)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONPATH": "handler"}, capture_output=True, check=True
        )
        assert int(done.stdout) < 1000  # pages; the image has 8,400

    def test_a_large_image_needs_sixteen_bytes_a_pixel(self) -> None:
        assert is_too_large(10_000_000, lambda: 159_999_999)
        assert not is_too_large(10_000_000, lambda: 160_000_000)

    def test_nobody_asks_for_a_small_one(self) -> None:
        assert not is_too_large(ALWAYS_ENOUGH_PIXELS, pytest.fail)

    def test_what_is_available_is_less_than_what_there_is(self) -> None:
        assert 1 << 20 < available_bytes() < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
