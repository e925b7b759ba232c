"""`python -m benchmarks.covers`: reading JPEG covers on one core, beside plain Pillow in the same run.

`read_image` decodes, cuts and resizes a file, and sees whether it is a cover; `prepare`, what a worker of `prepare`
does with it, also makes its likeness.  Pillow alone opens, converts, resizes and crops.
"""

import argparse
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import options, results, timing
from benchmarks.output import COMPARISON, Output
from mumu_jax.config import ImageSettings
from mumu_jax.data.modalities import MODALITIES
from mumu_jax.data.modalities.image.read import read_image
from mumu_jax.data.sources.synthetic.covers import LOOKS, draw_cover
from mumu_jax.system.terminal import run_command

SIDES_PX = (300, 512)  # Amazon's usual size, and that of the album-cover study
N_COVERS, QUALITY = 48, 85  # different files
SETTINGS = ImageSettings()


def main(argv: Sequence[str]) -> None:
    """Print and keep two rows a size."""
    chosen = _parse(argv)
    output = Output("covers", save=not chosen.no_save, titles=COMPARISON)
    for side_px in chosen.sides:
        with tempfile.TemporaryDirectory(prefix="mumu_jax_benchmark_") as folder:
            paths = write_covers(Path(folder), side_px)
            rates = measure(paths, chosen.repeats, chosen.seconds)
        common = {"config": f"JPEG {side_px} × {side_px}", "batch_size": 1, "n_devices": 1}
        common |= {"device": results.cpu_device(), "repeats": chosen.repeats}
        peer = {"peer": "pillow", "peer_examples_per_s": timing.spread(rates["pillow"]).median}
        for mode in ("read_image", "prepare"):
            ratio = timing.columns("ratio", timing.ratios(rates[mode], rates["pillow"]))
            output.add({**common, "mode": mode, **timing.columns("examples_per_s", rates[mode]), **peer, **ratio})


def measure(paths: Sequence[Path], repeats: int, seconds: float) -> dict[str, list[float]]:
    """Covers a second of each side, which take turns."""
    read = MODALITIES["image"].read
    sides: dict[str, Callable[[Path], Any]] = {
        "read_image": lambda path: read_image(path, SETTINGS),
        "prepare": lambda path: read(path, SETTINGS),
        "pillow": plain,
    }
    work = {name: partial(_read_all, side, paths) for name, side in sides.items()}
    calls = {name: timing.calls_within(seconds, one) for name, one in work.items()}
    rated = {name: partial(timing.rate, one, len(paths), calls[name]) for name, one in work.items()}
    return timing.take_turns(rated, repeats)


def plain(path: Path) -> np.ndarray:
    """The short side resized, and the centre cut out."""
    with Image.open(path) as image:
        scale = SETTINGS.side_px / min(image.size)
        size = round(scale * image.width), round(scale * image.height)
        resized = image.convert("RGB").resize(size, Image.Resampling.BICUBIC)
    left, top = (resized.width - SETTINGS.side_px) // 2, (resized.height - SETTINGS.side_px) // 2
    return np.asarray(resized.crop((left, top, left + SETTINGS.side_px, top + SETTINGS.side_px)))


def write_covers(folder: Path, side_px: int) -> list[Path]:
    """Covers of the mini dataset."""
    rng = np.random.default_rng(0)
    paths = [folder / f"{i}.jpg" for i in range(N_COVERS)]
    for i, path in enumerate(paths):
        cover = draw_cover(([*LOOKS][i % len(LOOKS)],), rng)
        cover.resize((side_px, side_px), Image.Resampling.BICUBIC).save(path, quality=QUALITY)
    return paths


def _read_all(side: Callable[[Path], Any], paths: Sequence[Path]) -> None:
    for path in paths:
        side(path)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.covers", description=__doc__)
    wanted = ",".join(map(str, SIDES_PX))
    parser.add_argument("--sides", type=options.numbers, default=[*SIDES_PX], help=f"in pixels; default {wanted}")
    options.add_common(parser, repeats=9, seconds=1)
    return parser.parse_args(argv)


if __name__ == "__main__":
    run_command(main)
