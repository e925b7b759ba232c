"""An album's files: most in the plainest format, a few in others, as in anyone's collection."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image
from scipy.signal import resample_poly

from mumu_jax.data.manifest import Album, Track
from mumu_jax.data.sources.synthetic.albums import Plan
from mumu_jax.data.sources.synthetic.covers import draw_cover
from mumu_jax.data.sources.synthetic.render import SR_HZ, render_track
from mumu_jax.data.sources.synthetic.reviews import write_reviews
from mumu_jax.data.sources.synthetic.timbre import write_timbre
from mumu_jax.system.files import replacing

# (suffix, sample rate as a ratio to SR_HZ, channels, share of the tracks); an mp3 costs half a second to encode
AUDIO_FORMATS = (
    ("flac", (1, 1), 1, 0.89),
    ("flac", (2, 1), 2, 0.04),
    ("wav", (320, 147), 2, 0.05),
    ("mp3", (2, 1), 2, 0.02),
)
# (suffix, Pillow's mode, share of the covers)
COVER_FORMATS = (("jpg", "RGB", 0.85), ("png", "RGB", 0.05), ("png", "P", 0.05), ("jpg", "L", 0.05))


def make_files(plan: Plan, folder: Path) -> Album:
    """Render what is not yet there of an album, and describe it."""
    tracks = tuple(_make_track(plan, number, folder) for number in range(plan.n_tracks))
    cover = _make_cover(plan, folder)
    text = write_reviews(plan.branches, _rng(plan, 1))
    return Album(plan.album_id, plan.genres, tracks, plan.split, text, cover, n_reviews=len(text.splitlines()))


def _rng(plan: Plan, item: int) -> np.random.Generator:
    """Item 0 is the cover, 1 the text, from 2 on the tracks."""
    return np.random.default_rng((*plan.key, item))


def _make_track(plan: Plan, number: int, folder: Path) -> Track:
    rng = _rng(plan, 2 + number)
    suffix, (up, down), channels, _ = AUDIO_FORMATS[rng.choice(len(AUDIO_FORMATS), p=[f[-1] for f in AUDIO_FORMATS])]
    track_id = f"{plan.album_id}-{number + 1}"

    def write(path: Path) -> None:
        samples = render_track(plan.branches, rng)
        if up != down:
            samples = resample_poly(samples, up, down)
        if channels == 2:
            samples = np.stack([samples, 0.8 * np.roll(samples, 20)], axis=1)
        soundfile.write(path, samples, SR_HZ * up // down, format=suffix.upper())

    audio = _once(folder / "audio" / f"{track_id}.{suffix}", write)
    return Track(track_id, audio, _once(folder / "msd" / f"{track_id}.h5", partial(write_timbre, audio)))


def _make_cover(plan: Plan, folder: Path) -> Path:
    rng = _rng(plan, 0)
    suffix, mode, _ = COVER_FORMATS[rng.choice(len(COVER_FORMATS), p=[f[-1] for f in COVER_FORMATS])]

    def write(path: Path) -> None:
        draw_cover(plan.branches, rng).convert(mode).save(path, Image.registered_extensions()[f".{suffix}"])

    return _once(folder / "covers" / f"{plan.album_id}.{suffix}", write)


def _once(path: Path, write: Callable[[Path], None]) -> Path:
    """Let `write` make the file unless it is there.  It appears under its name only when it is whole."""
    if not path.exists():
        with replacing(path) as temporary:
            write(temporary)
    return path
