"""One image file → its centre square, in the size that covers are stored in."""

import contextlib
import os
import warnings
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from mumu_jax.config import ImageSettings
from mumu_jax.data.manifest import Rejected

LEAST_SIDE_PX = 16  # shorter ones are no covers: Amazon answers with 1 × 1 where it has none, and others with a line
LEAST_RANGE = 8  # of 255, in any channel of 4 × 4 pixels taken together: what JPEG leaves of one colour stays below

_DRAFT = 2  # a JPEG is decoded at 1/2, 1/4 or 1/8 as long as this many times the wanted side is left
_WHITES = (1, 255, 65_535)  # of images whose values have no range of their own


def read_image(path: Path, settings: ImageSettings) -> UInt8[np.ndarray, "side side 3"]:
    """The first frame's centre square as RGB, `side_px` wide, upright (EXIF), over white where it is transparent.

    Resized with Pillow's bicubic filter, antialiased; smaller images are enlarged.  Colour profiles are passed over.
    Raises Rejected, and nothing else: "missing"; "unreadable", which is also an image of more pixels than Pillow
    decodes without a warning (89 million); "placeholder" for one with a side below LEAST_SIDE_PX, or of one colour.
    """
    if not os.path.exists(path):
        raise Rejected("missing", "there is no such file")
    try:
        # Pillow warns of what it can read all the same, but for images that would fill the memory.
        with warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                return np.asarray(_prepared(image, settings.side_px))
    except Rejected:
        raise
    except UnidentifiedImageError as error:
        raise Rejected("unreadable", "it is no image of a kind that Pillow reads") from error
    except Exception as error:  # of many kinds: each format's decoder has its own
        raise Rejected("unreadable", f"{type(error).__name__}: {error}") from error


def _prepared(image: Image.Image, side_px: int) -> Image.Image:
    if image.format == "EPS":
        raise Rejected("unreadable", "EPS is a program, which is not run; save it as an image")
    width, height = image.size
    if min(width, height) < LEAST_SIDE_PX:
        raise Rejected(
            "placeholder", f"it has {width} × {height} pixels, and a cover at least {LEAST_SIDE_PX} each way"
        )
    image.draft(None, (_DRAFT * side_px, _DRAFT * side_px))
    image.load()  # only now, some formats know their mode
    rgb = _as_rgb(image)
    side = min(rgb.size)
    left, top = (rgb.width - side) / 2, (rgb.height - side) / 2
    square = rgb.resize((side_px, side_px), Image.Resampling.BICUBIC, (left, top, left + side, top + side))
    square.info = image.info
    with contextlib.suppress(Exception):  # EXIF that cannot be read says nothing of how the picture stands
        ImageOps.exif_transpose(square, in_place=True)
    if all(most - least < LEAST_RANGE for least, most in np.reshape(square.reduce(4).getextrema(), (3, 2))):
        raise Rejected("placeholder", "it has one colour")
    return square


def _as_rgb(image: Image.Image) -> Image.Image:
    """The image in 8 bits a channel, over white where it is transparent."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(_in_8_bits(np.asarray(image))).convert("RGB")
    if image.mode == "LAB":
        lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return ImageCms.buildTransform(lab, rgb, "LAB", "RGB").apply(image)
    if not image.has_transparency_data:
        return image.convert("RGB")
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def _in_8_bits(values: np.ndarray) -> UInt8[np.ndarray, "height width"]:
    """Values of 16 or 32 bits, scaled from 0 … white; white is the first of _WHITES that none exceeds.

    16 bits are always 0 … 65,535.
    """
    of_16_bits = values.dtype.itemsize == 2
    values = np.nan_to_num(values.astype(np.float64))
    most = 65_535 if of_16_bits else values.max()
    white = next((white for white in _WHITES if most <= white), most)
    return np.clip(values * (255 / white) + 0.5, 0, 255).astype(np.uint8)
