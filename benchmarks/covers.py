"""`python -m benchmarks.covers`: read JPEG covers on one core, beside plain Pillow in the same run.

`read_image` decodes, crops and resizes a file, and checks that it is a cover; `prepare` also makes its likeness, as a
worker of `prepare` does.  Pillow alone opens, converts, resizes and crops.
"""

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import results, timing
from benchmarks.benchmark import Benchmark
from benchmarks.options import numbers
from mumu_jax.config import ImageSettings
from mumu_jax.data.modalities import MODALITIES
from mumu_jax.data.modalities.base import read_item
from mumu_jax.data.modalities.image.read import read_image
from mumu_jax.data.sources.synthetic.covers import LOOKS, draw_cover
from mumu_jax.system.terminal import run_command

N_COVERS, QUALITY = 48, 85  # different files
SETTINGS = ImageSettings()
OURS = {"read_image": read_image, "prepare": partial(read_item, MODALITIES["image"])}


def main(argv: Sequence[str]) -> None:
    """Add two rows a size."""
    benchmark = Benchmark("covers", __doc__, repeats=9, seconds=1)
    # Amazon's usual size, and that of the album-cover study.
    benchmark.option("--sides", type=numbers, default="300,512", help="in pixels; default %(default)s")
    options = benchmark.start(argv, **results.one_core(), peer="pillow")
    for side_px in options.sides:
        with tempfile.TemporaryDirectory(prefix="mumu_jax_benchmark_") as folder:
            rates = measure(write_covers(Path(folder), side_px), options.repeats, options.seconds)
        for mode in OURS:
            figures = timing.figures(rates[mode], rates["pillow"])
            benchmark.add({"config": f"JPEG {side_px} × {side_px}", "mode": mode, **figures})


def measure(paths: Sequence[Path], repeats: int, seconds: float) -> dict[str, list[float]]:
    """Return covers a second of each side, taken in turns."""

    def side(read: Callable[..., Any]) -> Callable[[], float]:
        return timing.timed(lambda: [read(path, SETTINGS) for path in paths], len(paths), seconds)

    return timing.take_turns({name: side(read) for name, read in {**OURS, "pillow": read_with_pillow}.items()}, repeats)


def read_with_pillow(path: Path, settings: ImageSettings) -> np.ndarray:
    """Resize the short side and cut out the centre."""
    side_px = settings.side_px
    with Image.open(path) as image:
        scale = side_px / min(image.size)
        size = round(scale * image.width), round(scale * image.height)
        resized = image.convert("RGB").resize(size, Image.Resampling.BICUBIC)
    left, top = (resized.width - side_px) // 2, (resized.height - side_px) // 2
    return np.asarray(resized.crop((left, top, left + side_px, top + side_px)))


def write_covers(folder: Path, side_px: int) -> list[Path]:
    """Write covers of the mini dataset."""
    rng = np.random.default_rng(0)
    paths = [folder / f"{i}.jpg" for i in range(N_COVERS)]
    for i, path in enumerate(paths):
        cover = draw_cover(([*LOOKS][i % len(LOOKS)],), rng)
        cover.resize((side_px, side_px), Image.Resampling.BICUBIC).save(path, quality=QUALITY)
    return paths


if __name__ == "__main__":
    run_command(main)
