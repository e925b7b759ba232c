"""`python -m benchmarks.covers`: read JPEG covers on one core, beside plain Pillow in the same run.

`read_image` decodes, crops and resizes a file, and checks that it is a cover; `prepare` also makes its likeness, as a
worker of `prepare` does.  Pillow alone opens, converts, resizes and crops.
"""

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import results, timing
from benchmarks.options import add_repeats, make_parser, numbers
from benchmarks.output import Output
from mumu_jax.config import ImageSettings
from mumu_jax.data.modalities import MODALITIES
from mumu_jax.data.modalities.image.read import read_image
from mumu_jax.data.sources.synthetic.covers import LOOKS, draw_cover
from mumu_jax.system.terminal import run_command

SIDES_PX = (300, 512)  # Amazon's usual size, and that of the album-cover study
N_COVERS, QUALITY = 48, 85  # different files
SETTINGS = ImageSettings()


def main(argv: Sequence[str]) -> None:
    """Add two rows a size."""
    options = _parse(argv)
    common = {"batch_size": 1, "n_devices": 1, "device": results.cpu_device(), "repeats": options.repeats}
    output = Output("covers", not options.no_save, peer="pillow", **common)
    for side_px in options.sides:
        with tempfile.TemporaryDirectory(prefix="mumu_jax_benchmark_") as folder:
            rates = measure(write_covers(Path(folder), side_px), options.repeats, options.seconds)
        for mode in ("read_image", "prepare"):
            figures = timing.figures(rates[mode], rates["pillow"])
            output.add({"config": f"JPEG {side_px} × {side_px}", "mode": mode, **figures})


def measure(paths: Sequence[Path], repeats: int, seconds: float) -> dict[str, list[float]]:
    """Return covers a second of each side, taken in turns."""
    read = MODALITIES["image"].read
    sides: dict[str, Callable[[Path], Any]] = {
        "read_image": lambda path: read_image(path, SETTINGS),
        "prepare": lambda path: read(path, SETTINGS),
        "pillow": read_with_pillow,
    }
    timed = {
        name: timing.timed(lambda side=side: [side(path) for path in paths], len(paths), seconds)
        for name, side in sides.items()
    }
    return timing.take_turns(timed, repeats)


def read_with_pillow(path: Path) -> np.ndarray:
    """Resize the short side and cut out the centre."""
    with Image.open(path) as image:
        scale = SETTINGS.side_px / min(image.size)
        size = round(scale * image.width), round(scale * image.height)
        resized = image.convert("RGB").resize(size, Image.Resampling.BICUBIC)
    left, top = (resized.width - SETTINGS.side_px) // 2, (resized.height - SETTINGS.side_px) // 2
    return np.asarray(resized.crop((left, top, left + SETTINGS.side_px, top + SETTINGS.side_px)))


def write_covers(folder: Path, side_px: int) -> list[Path]:
    """Write covers of the mini dataset."""
    rng = np.random.default_rng(0)
    paths = [folder / f"{i}.jpg" for i in range(N_COVERS)]
    for i, path in enumerate(paths):
        cover = draw_cover(([*LOOKS][i % len(LOOKS)],), rng)
        cover.resize((side_px, side_px), Image.Resampling.BICUBIC).save(path, quality=QUALITY)
    return paths


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = make_parser("benchmarks.covers", __doc__)
    default = ",".join(map(str, SIDES_PX))
    parser.add_argument("--sides", type=numbers, default=[*SIDES_PX], help=f"in pixels; default {default}")
    add_repeats(parser, repeats=9, seconds=1)
    return parser.parse_args(argv)


if __name__ == "__main__":
    run_command(main)
