"""The cover of an album: palette, motif, lettering and grain that its genres favour."""

import colorsys
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

# How hard the genres are to see.  More of either and images alone score lower.
LEAK = 0.05  # chance that the palette, motif, lettering or grain comes from a genre that the album does not have
HUE_SD = 0.05  # of a palette's hue, in turns of the colour circle

SIDE_PX = (300, 500)


@dataclass(frozen=True)
class Look:
    """Hue, saturation and value of the ground, each 0 to 1; hue of the figure; motif, lettering; grain (0 to 1)."""

    hue: float
    saturation: float
    value: float
    figure_hue: float
    motif: str
    lettering: str
    grain: float = 0.05


LOOKS = {
    "Pop": Look(0.92, 0.5, 0.9, 0.15, "portrait", "bottom"),
    "Vocal Pop": Look(0.10, 0.4, 0.8, 0.05, "portrait", "script"),
    "Dance Pop": Look(0.85, 0.8, 0.95, 0.50, "stripes", "centre"),
    "Adult Contemporary": Look(0.55, 0.25, 0.9, 0.08, "horizon", "script"),
    "Rock": Look(0.02, 0.6, 0.5, 0.12, "crowd", "top", 0.1),
    "Progressive Rock": Look(0.70, 0.6, 0.5, 0.35, "rings", "top"),
    "Blues Rock": Look(0.62, 0.6, 0.35, 0.10, "portrait", "bottom", 0.15),
    "Surf Rock": Look(0.50, 0.6, 0.95, 0.14, "horizon", "top"),
    "Dance & Electronic": Look(0.60, 0.7, 0.3, 0.80, "grid", "none"),
    "Techno": Look(0.00, 0.02, 0.15, 0.35, "grid", "centre"),
    "House": Look(0.75, 0.7, 0.6, 0.13, "rings", "centre"),
    "Ambient": Look(0.52, 0.3, 0.7, 0.60, "mist", "none", 0.02),
    "Jazz": Look(0.58, 0.7, 0.5, 0.11, "stripes", "top"),
    "Vocal Jazz": Look(0.06, 0.5, 0.35, 0.03, "portrait", "script", 0.1),
    "Bebop": Look(0.09, 0.8, 0.8, 0.60, "stripes", "top", 0.1),
    "Rap & Hip-Hop": Look(0.12, 0.3, 0.3, 0.14, "portrait", "centre"),
    "Gangsta & Hardcore": Look(0.00, 0.05, 0.12, 0.00, "portrait", "centre", 0.1),
    "Country": Look(0.09, 0.5, 0.7, 0.60, "horizon", "centre"),
    "Classic Country": Look(0.08, 0.6, 0.6, 0.02, "portrait", "top", 0.15),
    "Bluegrass": Look(0.28, 0.5, 0.6, 0.09, "horizon", "bottom", 0.1),
    "Metal": Look(0.00, 0.3, 0.1, 0.00, "shards", "top", 0.1),
    "Death Metal": Look(0.98, 0.8, 0.2, 0.28, "shards", "centre", 0.25),
    "Reggae": Look(0.30, 0.7, 0.6, 0.15, "stripes", "bottom"),
    "Dub": Look(0.33, 0.8, 0.4, 0.02, "rings", "bottom", 0.1),
}


def draw_cover(branches: tuple[str, ...], rng: np.random.Generator) -> Image.Image:
    """A square RGB picture, SIDE_PX wide."""

    def look() -> Look:
        leaks = rng.random() < LEAK
        return LOOKS[str(rng.choice(list(LOOKS))) if leaks else branches[rng.integers(len(branches))]]

    side = int(rng.integers(SIDE_PX[0], SIDE_PX[1] + 1))
    ground = look()
    image = Image.new("RGB", (side, side), _colour(ground.hue, ground.saturation, ground.value, rng))
    draw = ImageDraw.Draw(image)
    _draw_motif(draw, look().motif, side, ground, rng)
    if ground.motif == "mist":
        image = image.filter(ImageFilter.GaussianBlur(side / 20))
        draw = ImageDraw.Draw(image)
    _draw_lettering(draw, look().lettering, side, ground, rng)
    noise = rng.standard_normal((side, side, 1)) * 255 * look().grain
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


def _colour(hue: float, saturation: float, value: float, rng: np.random.Generator) -> tuple[int, int, int]:
    saturation, value = np.clip(rng.normal((saturation, value), 0.12), 0, 1)
    rgb = colorsys.hsv_to_rgb((hue + rng.normal(0, HUE_SD)) % 1, saturation, value)
    red, green, blue = (int(255 * channel) for channel in rgb)
    return red, green, blue


def _draw_motif(draw: ImageDraw.ImageDraw, motif: str, side: int, look: Look, rng: np.random.Generator) -> None:
    def colour() -> tuple[int, int, int]:
        return _colour(look.figure_hue, look.saturation, 1 - 0.6 * look.value, rng)

    x, y = rng.uniform(0.35, 0.65, 2) * side
    n = int(rng.integers(5, 12))
    match motif:
        case "portrait":
            r = rng.uniform(0.12, 0.22) * side
            draw.ellipse((x - 2 * r, y + r, x + 2 * r, y + 6 * r), fill=colour())
            draw.ellipse((x - r, y - 1.3 * r, x + r, y + 1.3 * r), fill=_colour(0.07, 0.4, 0.7, rng))
        case "stripes":
            for i in range(n):
                left = side * i / n
                draw.polygon([(left, 0), (left + side / n / 2, 0), (left + x / 2, side), (left, side)], fill=colour())
        case "horizon":
            draw.rectangle((0, y, side, side), fill=colour())
            draw.ellipse((x - 40, y - 90, x + 40, y - 10), fill=_colour(0.13, 0.6, 1.0, rng))
        case "crowd":
            for left in rng.uniform(0, side, 4 * n):
                top = rng.uniform(0.6, 0.9) * side
                draw.ellipse((left - 15, top, left + 15, top + 40), fill=colour())
        case "rings":
            for i in range(n, 0, -1):
                r = side * i / n / 2
                draw.ellipse((x - r, y - r, x + r, y + r), outline=colour(), width=max(2, side // 60))
        case "grid":
            for i in range(2 * n):
                at = side * i / n / 2
                draw.line((at, 0, at, side), fill=colour(), width=2)
                draw.line((0, at, side, at), fill=colour(), width=2)
        case "mist":
            for _ in range(n):
                left, top, r = rng.uniform(0, side, 3)
                draw.ellipse((left - r / 2, top - r / 2, left + r / 2, top + r / 2), fill=colour())
        case "shards":
            for _ in range(2 * n):
                corners = rng.uniform(0, side, (3, 2))
                corners[1:] = corners[0] + (corners[1:] - corners[0]) * (0.15, 1)
                draw.polygon([(float(a), float(b)) for a, b in corners], fill=colour())


def _draw_lettering(draw: ImageDraw.ImageDraw, lettering: str, side: int, look: Look, rng: np.random.Generator) -> None:
    """Blocks that stand for letters, or a wavy line for handwriting."""
    ink = _colour(look.figure_hue, 0.2, float(rng.integers(2)), rng)
    height = side * rng.uniform(0.05, 0.10)
    top = side * {"top": 0.06, "centre": 0.45, "bottom": 0.84, "script": 0.8, "none": 0.0}[lettering]
    if lettering == "script":
        xs = np.linspace(0.2, 0.8, 60) * side
        ys = top + height * np.sin(np.linspace(0, rng.uniform(20, 40), 60))
        draw.line(list(zip(xs.tolist(), ys.tolist(), strict=True)), fill=ink, width=3)
    elif lettering != "none":
        left, end = side * rng.uniform(0.05, 0.2), side * rng.uniform(0.8, 0.95)
        while left < end:
            width = height * rng.uniform(0.4, 0.9)
            if rng.random() < 0.85:
                draw.rectangle((left, top, left + width, top + height), fill=ink)
            left += width * 1.25
