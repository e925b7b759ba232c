"""Tests of reading covers: every mode and format against plain Pillow, and files that are not covers."""

import contextlib
import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from mumu_jax.config import ImageSettings
from mumu_jax.data.manifest import Rejected
from mumu_jax.data.modalities import MODALITIES
from mumu_jax.data.modalities.base import Content, read_item
from mumu_jax.data.modalities.image.read import LEAST_SIDE_PX, read_image
from mumu_jax.data.preparation.diagnosis import KINDS
from mumu_jax.data.store.records import decode, encode

SETTINGS = ImageSettings()
IMAGE = MODALITIES["image"]


def picture(width: int = 320, height: int = 300) -> Image.Image:
    """Return smooth colours, another in each corner, and a bright spot at the top left."""
    y, x = np.mgrid[0:height, 0:width] / np.array([height, width])[:, None, None]
    rgb = np.stack([255 * x, 255 * y, 255 * (1 - x) * (1 - y)], -1)
    rgb[height // 8 : height // 4, width // 8 : width // 4] = 240
    return Image.fromarray(rgb.astype(np.uint8))


def expected(image: Image.Image, side_px: int = 256) -> np.ndarray:
    """Return the image as plain Pillow converts it: RGB, centre square, resized."""
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)
    return np.asarray(image.convert("RGB").resize((side_px, side_px), Image.Resampling.BICUBIC, box))


def close(found: np.ndarray, wanted: np.ndarray, mean: float = 0.0) -> None:
    assert found.shape == wanted.shape
    assert np.abs(found.astype(int) - wanted).mean() <= mean


def saved(image: Image.Image, path: Path, **how) -> Path:
    image.save(path, **how)
    return path


def refuses(path: Path, reason: str, *says: str) -> None:
    with pytest.raises(Rejected) as caught:
        read_image(path, SETTINGS)
    assert caught.value.reason == reason, caught.value
    assert all(fragment in caught.value.detail for fragment in says), caught.value


# --- what is read -------------------------------------------------------------------------------------------


FORMATS_OF_MODES = {
    **dict.fromkeys(("RGB", "L"), ("png", "jpg", "tif", "gif", "webp", "bmp", "avif", "jp2", "ppm", "tga", "ico")),
    **{"1": ("png", "jpg", "tif", "gif", "bmp"), "P": ("png", "tif", "gif", "webp", "bmp")},
    **{"CMYK": ("jpg", "tif"), "YCbCr": ("jpg",), "PA": ("tif",)},
    **{"RGBA": ("png", "tif", "gif", "webp", "bmp", "ico"), "LA": ("png", "tif", "webp")},
}


@pytest.mark.parametrize("mode", FORMATS_OF_MODES)
def test_modes_and_formats(tmp_path, mode):
    image = picture().convert("P").convert("PA") if mode == "PA" else picture().convert(mode)
    for suffix in FORMATS_OF_MODES[mode]:
        path = saved(image, tmp_path / f"a.{suffix}")
        with Image.open(path) as stored:
            close(read_image(path, SETTINGS), expected(stored))


@pytest.mark.parametrize("side_px", [64, 256])
@pytest.mark.parametrize("size", [(500, 498), (300, 900), (640, 360), (40, 40), (16, 2_000), (1_500, 1_400)])
def test_sizes(tmp_path, size, side_px):
    path = saved(picture(*size), tmp_path / "a.png")
    close(read_image(path, ImageSettings(side_px)), expected(picture(*size), side_px))


def test_a_large_jpeg_is_decoded_smaller_and_looks_the_same(tmp_path):
    path = saved(picture(2_400, 2_300), tmp_path / "a.jpg", quality=90)
    with Image.open(path) as whole:
        wanted = expected(whole)
    close(read_image(path, SETTINGS), wanted, mean=0.5)


def test_the_short_side_is_resized_with_antialiasing(tmp_path):
    """Stripes of one pixel become grey, rather than stripes of another width."""
    stripes = np.zeros((1_024, 1_024, 3), np.uint8)
    stripes[:, ::2] = 255
    stripes[:, 512:] = 255
    found = read_image(saved(Image.fromarray(stripes), tmp_path / "a.png"), SETTINGS)
    assert np.ptp(found[:, 10:110]) <= 2
    assert abs(found[:, 10:110].mean() - 127.5) < 2


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_exif_says_how_it_stands(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    how = {"lossless": True} if suffix == "webp" else {}
    path = saved(picture(320, 320), tmp_path / f"a.{suffix}", exif=exif, **how)
    upright = {
        **{1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud},
        **{5: lambda a: a.transpose(1, 0, 2), 6: lambda a: np.rot90(a, -1)},
        **{7: lambda a: np.rot90(a, 2).transpose(1, 0, 2), 8: np.rot90},
    }[orientation]
    close(read_image(path, SETTINGS), upright(expected(picture(320, 320))), mean=1.5 if suffix == "jpg" else 0.1)


def test_exif_of_a_transparent_image_and_damaged_exif(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3
    path = saved(picture().convert("RGBA"), tmp_path / "a.png", exif=exif)
    close(read_image(path, SETTINGS), np.rot90(expected(picture()), 2), mean=0.1)
    path = saved(picture(), tmp_path / "b.png", exif=b"Exif\0\0MM\0\x2a\xff\xff\xff\xff" + bytes(range(40)))
    close(read_image(path, SETTINGS), expected(picture()))


def _transparent_palette(rgb: Image.Image) -> tuple[Image.Image, dict]:
    return rgb.convert("P", palette=Image.Palette.ADAPTIVE, colors=8), {"transparency": bytes([0, 128, 255])}


def _transparent_colour(rgb: Image.Image) -> tuple[Image.Image, dict]:
    return rgb, {"transparency": (240, 240, 240)}


def _alpha(rgb: Image.Image) -> tuple[Image.Image, dict]:
    rgb.putalpha(Image.linear_gradient("L").resize(rgb.size))
    return rgb, {}


def _grey_alpha(rgb: Image.Image) -> tuple[Image.Image, dict]:
    return _alpha(rgb)[0].convert("LA"), {}


@pytest.mark.parametrize("make", [_transparent_palette, _transparent_colour, _alpha, _grey_alpha])
def test_what_is_transparent_is_white(tmp_path, make: Callable[[Image.Image], tuple[Image.Image, dict]]):
    image, how = make(picture())
    path = saved(image, tmp_path / "a.png", **how)
    with Image.open(path) as stored:
        rgba = np.asarray(stored.convert("RGBA")).astype(float)
    alpha = rgba[..., 3:] / 255
    over_white = rgba[..., :3] * alpha + 255 * (1 - alpha)
    assert (alpha < 1).any()
    close(read_image(path, SETTINGS), expected(Image.fromarray(over_white.round().astype(np.uint8))), mean=0.6)


@pytest.mark.parametrize(
    ("suffix", "dtype", "white"),
    [
        *[("png", "uint16", 65_535), ("tif", "uint16", 65_535), ("tif", ">u2", 65_535), ("pgm", "uint16", 65_535)],
        *[("tif", "int32", 65_535), ("tif", "int32", 255), ("tif", "int32", 2**31 - 1)],
        *[("tif", "float32", 1.0), ("tif", "float32", 255.0), ("tif", "float32", 1e9)],
    ],
)
def test_more_than_8_bits_are_scaled_and_not_clipped(tmp_path, suffix, dtype, white):
    grey = picture().convert("L")
    values = (np.asarray(grey) / np.asarray(grey).max() * white).astype(dtype)
    path = saved(Image.fromarray(values), tmp_path / f"a.{suffix}")
    wanted = np.asarray(grey) / np.asarray(grey).max() * 255
    close(read_image(path, SETTINGS), expected(Image.fromarray(wanted.astype(np.uint8))), mean=1.0)


def test_values_that_are_not_finite(tmp_path):
    values = np.asarray(picture().convert("L")) / np.float32(255)
    values[:20] = np.nan
    found = read_image(saved(Image.fromarray(values), tmp_path / "a.tif"), SETTINGS)
    assert found[:10].max() == 0
    assert found[-1].max() > 100


def test_lab(tmp_path):
    lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    image = ImageCms.buildTransform(rgb, lab, "RGB", "LAB").apply(picture())
    close(read_image(saved(image, tmp_path / "a.tif"), SETTINGS), expected(picture()), mean=3)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tif"])
def test_the_first_frame_of_an_animation(tmp_path, suffix):
    others = [Image.new("RGB", (320, 300), colour) for colour in ("red", "green")]
    how = {"lossless": True} if suffix == "webp" else {}
    path = saved(picture(), tmp_path / f"a.{suffix}", save_all=True, append_images=others, **how)
    with Image.open(path) as stored:
        assert getattr(stored, "n_frames", 1) == 3
        close(read_image(path, SETTINGS), expected(stored))


# --- what is rejected ---------------------------------------------------------------------------------------


def test_missing(tmp_path):
    refuses(tmp_path / "no.jpg", "missing")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "no.jpg")
    refuses(tmp_path / "link.jpg", "missing")
    refuses(tmp_path / "a\0b.jpg", "missing")


@pytest.mark.parametrize("content", [b"", b"<html><body>404</body></html>", b"\xff\xd8\xff", b"GIF89a", bytes(5_000)])
def test_no_image(tmp_path, content):
    (tmp_path / "a.jpg").write_bytes(content)
    refuses(tmp_path / "a.jpg", "unreadable")


def test_what_cannot_be_opened(tmp_path):
    refuses(tmp_path, "unreadable", "Is a directory")
    path = saved(picture(), tmp_path / "a.png")
    path.chmod(0)
    if not os.access(path, os.R_OK):  # as it is for all but root
        refuses(path, "unreadable", "Permission denied")


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "webp", "bmp"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_truncated(tmp_path, suffix, share):
    path = saved(Image.effect_noise((300, 300), 60).convert("RGB"), tmp_path / f"a.{suffix}")
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    refuses(path, "unreadable")


@pytest.mark.parametrize("side", [12_000, 30_000])  # Pillow warns of the first, and raises at the second
def test_an_image_that_would_fill_the_memory(tmp_path, side):
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(bytes(1_000))), chunk(b"IEND", b"")]
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    refuses(tmp_path / "a.png", "unreadable", "DecompressionBomb")


@pytest.mark.parametrize("size", [(1, 1), (5_000, 3), (LEAST_SIDE_PX - 1, 400)])
def test_a_placeholder_is_small(tmp_path, size):
    refuses(saved(picture(*size), tmp_path / "a.gif"), "placeholder", f"{size[0]} × {size[1]} pixels")


@pytest.mark.parametrize("colour", ["white", "black", (200, 30, 90)])
def test_a_placeholder_has_one_colour(tmp_path, colour):
    refuses(saved(Image.new("RGB", (300, 300), colour), tmp_path / "a.jpg"), "placeholder", "one colour")
    refuses(saved(Image.new("RGBA", (300, 300), (9, 200, 70, 0)), tmp_path / "a.png"), "placeholder", "one colour")


def test_a_cover_that_is_nearly_white_is_one(tmp_path):
    image = Image.new("RGB", (300, 300), "white")
    image.paste((200, 200, 200), (140, 150, 180, 154))
    assert read_image(saved(image, tmp_path / "a.jpg"), SETTINGS).min() < 230


def test_eps_is_not_run(tmp_path):
    refuses(saved(picture(), tmp_path / "a.eps"), "unreadable", "EPS is a program")


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "webp", "tif", "bmp"])
def test_odd_bytes_raise_nothing_else(tmp_path, suffix):
    rng = np.random.default_rng(0)
    stream = io.BytesIO()
    picture(60, 50).save(stream, "TIFF" if suffix == "tif" else {"jpg": "JPEG"}.get(suffix, suffix.upper()))
    good = np.frombuffer(stream.getvalue(), np.uint8)
    for _ in range(60):
        bad = good.copy()
        bad[rng.integers(0, min(len(bad), 300), 6)] = rng.integers(0, 256, 6)
        (tmp_path / "a").write_bytes(bad.tobytes())
        with contextlib.suppress(Rejected):
            assert read_image(tmp_path / "a", SETTINGS).shape == (256, 256, 3)


@pytest.mark.parametrize("suffix", ["avif", "tif", "jp2", "jpg"])
def test_the_doctor_calls_an_image_what_is_read(tmp_path, suffix):
    (covers,) = (kind for kind in KINDS if kind.name == "covers")
    path = saved(picture(), tmp_path / f"a.{suffix}")
    assert covers.other_than(path) is None
    path.write_bytes(b"\0\1\2\3")
    assert covers.other_than(path) is not None


# --- the modality -------------------------------------------------------------------------------------------


def test_a_record_holds_the_pixels(tmp_path):
    content = IMAGE.read(saved(picture(), tmp_path / "a.png"), SETTINGS)
    assert isinstance(content, Content)
    record = decode(encode("A", "A", [2], content.fields, IMAGE, SETTINGS), IMAGE, SETTINGS)
    assert (record["image"] == expected(picture())).all()
    assert record["image"].dtype == np.uint8
    assert record["image"].base is not None  # no copy
    gone = read_item(IMAGE, tmp_path / "no.png", SETTINGS)
    assert isinstance(gone, Rejected)
    assert gone.reason == "missing"


def test_pixels_are_standardised_as_the_published_networks_had_them():
    assert IMAGE.statistics is not None
    mean, std = IMAGE.statistics([], SETTINGS)
    assert (mean == np.array([0.485, 0.456, 0.406], np.float32)).all()
    assert (std == np.array([0.229, 0.224, 0.225], np.float32)).all()
