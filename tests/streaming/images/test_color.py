"""Orientation, depth and colour model become what a viewer shows; Pillow and NumPy are the oracles.

Transparency is in `test_colours_alpha.py`.
"""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
import pytest
from PIL import ExifTags, Image, ImageCms, ImageOps

from streaming.images import color
from streaming.images.decode import decode
from support.image_files import RAW, SIDE, as_rgb, decode_pixels, encode, photo

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of broken metadata


@pytest.fixture(autouse=True, params=[color.STRIP_PIXELS, 500], ids=["whole", "in strips"])
def strips(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small images are turned into RGB at once, large ones in strips; here both ways are tried."""
    monkeypatch.setattr(color, "STRIP_PIXELS", request.param)


@pytest.fixture(scope="module")
def ramp() -> npt.NDArray[np.uint16]:
    """All grey levels from 0 to 65535 in equal steps, shape (SIDE, SIDE)."""
    return np.linspace(0, 65535, SIDE * SIDE).round().astype(np.uint16).reshape(SIDE, SIDE)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "MPO"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(name: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    content = encode(photo().crop((0, 0, 64, 40)), name, exif=exif)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB")
    decoded = decode(content, RAW)
    assert (decoded.width, decoded.height) == ((64, 40) if orientation < 5 else (40, 64))
    wanted = np.asarray(upright.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(decoded.pixels, wanted)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP"])
def test_exif_that_cannot_be_read_does_not_cost_an_image(name: str) -> None:
    rng = np.random.default_rng(3)
    wanted = decode_pixels(encode(photo(), name))
    for length in (*range(1, 12), 20, 200):
        for start in (b"", b"MM\0*\0\0\0\x08"[:length]):
            exif = b"Exif\0\0" + start + rng.bytes(length)
            np.testing.assert_array_equal(decode_pixels(encode(photo(), name, exif=exif)), wanted)


@pytest.mark.parametrize("name", ["PNG", "TIFF", "JPEG2000", "PPM"])
def test_16_bit_grey_is_scaled_not_clipped(ramp: npt.NDArray[np.uint16], name: str) -> None:
    image = Image.fromarray(ramp)
    assert image.mode == "I;16"
    np.testing.assert_array_equal(decode_pixels(encode(image, name)), as_rgb(ramp / 257))


def test_16_bit_grey_of_big_endian_tiff_and_of_white_is_zero(ramp: npt.NDArray[np.uint16]) -> None:
    big = Image.frombytes("I;16B", (SIDE, SIDE), ramp.astype(">u2").tobytes())
    np.testing.assert_array_equal(decode_pixels(encode(big, "TIFF")), as_rgb(ramp / 257))
    inverted = encode(Image.fromarray(ramp), "TIFF", tiffinfo={262: 0})
    assert Image.open(io.BytesIO(inverted)).tag_v2[262] == 0
    np.testing.assert_array_equal(
        decode_pixels(inverted), as_rgb((65535 - ramp.astype(float)) / 257)
    )


@pytest.mark.parametrize(
    ("low", "high", "bottom", "top"),
    [
        (0.0, 1.0, 0.0, 1.0),
        (0.0, 200.0, 0.0, 255.0),
        (10.0, 60_000.0, 0.0, 65535.0),
        (-5.0, 5.0, -5.0, 5.0),
        (0.0, 1e30, 0.0, 1e30),
    ],
)
def test_float_grey_takes_the_usual_range_that_holds_it(
    low: float, high: float, bottom: float, top: float
) -> None:
    values = np.linspace(low, high, SIDE * SIDE, dtype=np.float32).reshape(SIDE, SIDE)
    got = decode_pixels(encode(Image.fromarray(values), "TIFF"))
    wanted = 255 * (values.astype(float) - bottom) / (top - bottom)
    assert np.abs(got - wanted[..., None]).max() <= 0.501


def test_float_grey_without_contrast_or_finite_values_is_still_an_image() -> None:
    values = np.full((SIDE, SIDE), 0.5, dtype=np.float32)
    values[0, :3] = np.nan, np.inf, -np.inf
    got = decode_pixels(encode(Image.fromarray(values), "TIFF"))
    assert got[0, :3, 0].tolist() == [0, 255, 0]
    assert set(got[1:].ravel()) == {128}
    for constant in (np.nan, -7.0, 1e9):
        decode_pixels(encode(Image.fromarray(np.full_like(values, constant)), "TIFF"))


def test_32_bit_grey_is_16_bit_where_it_fits_and_stretched_elsewhere(
    ramp: npt.NDArray[np.uint16],
) -> None:
    wide = ramp.astype(np.int32)
    np.testing.assert_array_equal(
        decode_pixels(encode(Image.fromarray(wide), "TIFF")), as_rgb(ramp / 257)
    )
    dark = encode(Image.fromarray(wide // 300), "TIFF")
    np.testing.assert_array_equal(decode_pixels(dark), as_rgb(ramp // 300 / 257))
    far = encode(Image.fromarray(wide + 2 * 10**9), "TIFF")
    np.testing.assert_array_equal(decode_pixels(far), as_rgb(ramp / 257))


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr"])
def test_other_opaque_modes_are_pillows_conversion(mode: str) -> None:
    content = encode(photo().convert(mode), "TIFF")
    opened = Image.open(io.BytesIO(content))
    assert opened.mode == mode
    np.testing.assert_array_equal(decode_pixels(content), np.asarray(opened.convert("RGB")))


def test_cmyk_looks_like_the_photo_in_tiff_and_in_adobes_inverted_jpeg() -> None:
    for name in ("TIFF", "JPEG"):
        got = decode_pixels(encode(photo().convert("CMYK"), name, quality=95))
        assert np.abs(got.astype(int) - np.asarray(photo())).mean() < 6


def test_lab_looks_like_the_photo() -> None:
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    lab = ImageCms.profileToProfile(photo(), *profiles, outputMode="LAB")
    assert np.abs(decode_pixels(encode(lab, "TIFF")).astype(int) - np.asarray(photo())).mean() < 3


def test_the_first_frame_of_an_animation_is_taken() -> None:
    others = [ImageOps.invert(photo()), ImageOps.mirror(photo())]
    for name, options in (("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {}), ("GIF", {})):
        content = encode(photo(), name, save_all=True, append_images=others, **options)
        opened = Image.open(io.BytesIO(content))
        assert opened.n_frames == 3
        np.testing.assert_array_equal(decode_pixels(content), np.asarray(opened.convert("RGB")))
        assert np.abs(decode_pixels(content).astype(int) - np.asarray(photo())).mean() < 15
