"""Read an image file, and make of it the centre square in the size in which covers are stored."""

import contextlib
import os
import warnings
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from mumu_jax.config import ImageSettings
from mumu_jax.data.manifest import Rejected
from mumu_jax.system.files import open_regular

LEAST_SIDE_PX = 16  # smaller images are placeholders: Amazon sends 1 × 1 for a missing cover, and others a line
LEAST_RANGE = 8  # of 255, in any channel, between means of 4 × 4 pixels: JPEG's noise on a single colour stays below

_DRAFT = 2  # a JPEG is decoded at 1/2, 1/4 or 1/8 if at least this many times the wanted side is left
_WHITES = (1, 255, 65_535)  # candidates for white in images whose values have no fixed range


def read_image(path: Path, settings: ImageSettings) -> UInt8[np.ndarray, "side side 3"]:
    """Return the first frame's centre square as RGB, `side_px` wide, upright (EXIF), transparency over white.

    It is resized with Pillow's antialiased bicubic filter; smaller images are enlarged.  Colour profiles are ignored.
    Raises Rejected, and nothing else: "missing"; "unreadable", also for more pixels than Pillow decodes without a
    warning (89 million); "placeholder" for a side below LEAST_SIDE_PX or a single colour.
    """
    if not os.path.exists(path):
        raise Rejected("missing", "no such file")
    try:
        # Pillow's warnings concern images that it can read, except those that would fill the memory.
        with warnings.catch_warnings(), open_regular(path) as file:
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                return np.asarray(_upright_square(image, settings.side_px))
    except Rejected:
        raise
    except UnidentifiedImageError as error:
        raise Rejected("unreadable", "it is not an image in a format that Pillow reads") from error
    except Exception as error:  # each format's decoder raises its own kinds
        raise Rejected("unreadable", f"{type(error).__name__}: {error}") from error


def _upright_square(image: Image.Image, side_px: int) -> Image.Image:
    if image.format == "EPS":
        raise Rejected("unreadable", "EPS is a program, which is not run; save it as an image")
    width, height = image.size
    if min(width, height) < LEAST_SIDE_PX:
        detail = f"expected at least {LEAST_SIDE_PX} × {LEAST_SIDE_PX} pixels, found {width} × {height} pixels"
        raise Rejected("placeholder", detail)
    image.draft(None, (_DRAFT * side_px, _DRAFT * side_px))
    image.load()  # some formats set their mode only now
    rgb = _as_rgb(image)
    side = min(rgb.size)
    left, top = (rgb.width - side) / 2, (rgb.height - side) / 2
    square = rgb.resize((side_px, side_px), Image.Resampling.BICUBIC, (left, top, left + side, top + side))
    square.info = image.info
    with contextlib.suppress(Exception):  # damaged EXIF is ignored
        ImageOps.exif_transpose(square, in_place=True)
    darkest, brightest = np.reshape(square.reduce(4).getextrema(), (3, 2)).T
    if (brightest - darkest < LEAST_RANGE).all():
        raise Rejected("placeholder", "it has one colour")
    return square


def _as_rgb(image: Image.Image) -> Image.Image:
    """Convert an image to 8 bits a channel, with white behind transparency."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(_scaled_to_8_bits(np.asarray(image))).convert("RGB")
    if image.mode == "LAB":
        lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return ImageCms.buildTransform(lab, rgb, "LAB", "RGB").apply(image)
    if not image.has_transparency_data:
        return image.convert("RGB")
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def _scaled_to_8_bits(values: np.ndarray) -> UInt8[np.ndarray, "height width"]:
    """Scale values of 16 or 32 bits from 0 … white to 0 … 255.

    White is 65,535 for 16 bits, else the first of _WHITES that no value exceeds.
    """
    has_16_bits = values.dtype.itemsize == 2
    values = np.nan_to_num(values.astype(np.float64))
    brightest = 65_535 if has_16_bits else values.max()
    white = next((white for white in _WHITES if brightest <= white), brightest)
    return np.clip(values * (255 / white) + 0.5, 0, 255).astype(np.uint8)
