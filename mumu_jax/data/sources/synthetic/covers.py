"""The cover of an album: the ground that one of its genres favours, under figures that one of them favours.

A genre is easy to see where its ground is its own in hue or brightness (Metal, Surf Rock, House); it is hard where
it shares the ground with others, and only the figures tell it from them (the Country genres and Bebop, both kinds of
Rap).  An album on several branches often shows nothing of one of them.
"""

import colorsys

import numpy as np
from PIL import Image, ImageDraw

# How hard the genres are to see.  More of any of these and images alone score lower.
STRAY = 0.03  # chance that the ground or the figures come from a genre that the album does not have
HUE_SD = 0.03  # of a colour's hue, in turns of the colour circle
TONE_SD = 0.08  # of its saturation and value
GRAIN = 0.05  # standard deviation of the noise, as a share of white

SIDE_PX = (300, 500)

# A motif -> the corners of one of its figures, in shares of the side, from a random place and size
MOTIFS = {
    "diamonds": lambda x, y, size: ((x - size, y), (x, y - size), (x + size, y), (x, y + size)),
    "stripes": lambda x, y, size: ((x, 0), (x + size / 2, 0), (x + size, 1), (x + size / 2, 1)),
    "hills": lambda x, y, size: ((x - 3 * size, y + size), (x, y), (x + 3 * size, y + size)),
    "shards": lambda x, y, size: ((x, y), (x + size, y + size / 4), (x + size, y - 3 * size)),
}
# A genre -> (hue, saturation and value of the ground, each 0 to 1; hue of the figures; their motif)
LOOKS = {
    "Pop": (0.92, 0.5, 0.9, 0.15, "diamonds"),
    "Vocal Pop": (0.10, 0.4, 0.8, 0.05, "diamonds"),
    "Dance Pop": (0.85, 0.8, 0.95, 0.50, "stripes"),
    "Adult Contemporary": (0.55, 0.25, 0.9, 0.08, "hills"),
    "Rock": (0.02, 0.6, 0.5, 0.12, "shards"),
    "Progressive Rock": (0.70, 0.6, 0.5, 0.35, "diamonds"),
    "Blues Rock": (0.62, 0.6, 0.35, 0.10, "diamonds"),
    "Surf Rock": (0.50, 0.6, 0.95, 0.14, "hills"),
    "Dance & Electronic": (0.60, 0.7, 0.3, 0.80, "stripes"),
    "Techno": (0.00, 0.02, 0.15, 0.35, "stripes"),
    "House": (0.75, 0.7, 0.6, 0.13, "diamonds"),
    "Ambient": (0.52, 0.3, 0.7, 0.60, "hills"),
    "Jazz": (0.58, 0.7, 0.5, 0.11, "stripes"),
    "Vocal Jazz": (0.06, 0.5, 0.35, 0.03, "diamonds"),
    "Bebop": (0.09, 0.8, 0.8, 0.60, "stripes"),
    "Rap & Hip-Hop": (0.12, 0.3, 0.3, 0.14, "diamonds"),
    "Gangsta & Hardcore": (0.00, 0.05, 0.12, 0.00, "diamonds"),
    "Country": (0.09, 0.5, 0.7, 0.60, "hills"),
    "Classic Country": (0.08, 0.6, 0.6, 0.02, "diamonds"),
    "Bluegrass": (0.28, 0.5, 0.6, 0.09, "hills"),
    "Metal": (0.00, 0.3, 0.1, 0.00, "shards"),
    "Death Metal": (0.98, 0.8, 0.2, 0.28, "shards"),
    "Reggae": (0.30, 0.7, 0.6, 0.15, "stripes"),
    "Dub": (0.33, 0.8, 0.4, 0.02, "diamonds"),
}


def draw_cover(branches: tuple[str, ...], rng: np.random.Generator) -> Image.Image:
    """Return a square RGB picture, SIDE_PX wide."""
    ground, figures = (str(rng.choice(list(LOOKS) if rng.random() < STRAY else branches)) for _ in range(2))
    hue, saturation, value, _, _ = LOOKS[ground]
    *_, figure_hue, motif = LOOKS[figures]
    side = int(rng.integers(*SIDE_PX, endpoint=True))
    image = Image.new("RGB", (side, side), _colour(hue, saturation, value, rng))
    draw = ImageDraw.Draw(image)
    for _ in range(rng.integers(4, 10)):
        corners = MOTIFS[motif](*rng.uniform((0.1, 0.1, 0.04), (0.9, 0.9, 0.15)))
        colour = _colour(figure_hue, saturation, 1 - 0.6 * value, rng)
        draw.polygon([(x * side, y * side) for x, y in corners], colour)
    noise = rng.standard_normal((side, side, 1), np.float32) * np.float32(255 * GRAIN)
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


def _colour(hue: float, saturation: float, value: float, rng: np.random.Generator) -> tuple[int, int, int]:
    saturation, value = np.clip(rng.normal((saturation, value), TONE_SD), 0, 1)
    red, green, blue = colorsys.hsv_to_rgb((hue + rng.normal(0, HUE_SD)) % 1, saturation, value)
    return int(255 * red), int(255 * green), int(255 * blue)
