"""The mini datasets: a stand-in for MuMu that is made, not downloaded, and another of one genre an album.

Audio files with their timbre and lyrics, review texts and covers are drawn from what an album's genres favour (`sound`,
`lyrics`, `reviews`, `covers`), with noise of its own in each: a modality alone tells something of the genres, several
together tell more.  None tells all: half the albums lie on several branches of the taxonomy, whose traits mix; a genre
shares traits with its family; and each modality has stray traits, of genres that the album does not have.  With one
genre an album, songs are longer, so that a network sees several pieces of each.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from pathlib import Path

import h5py
import numpy as np
import soundfile
import soxr
from PIL import Image

from mumu_jax.data.manifest import SPLITS, Album, Label, Track
from mumu_jax.data.modalities.text.entities import write_gazetteer
from mumu_jax.data.sources.base import Collection, Request
from mumu_jax.data.sources.synthetic.covers import draw_cover
from mumu_jax.data.sources.synthetic.genres import BRANCHES, LABELS, with_parents
from mumu_jax.data.sources.synthetic.lyrics import write_lyrics
from mumu_jax.data.sources.synthetic.reviews import GAZETTEER, write_reviews
from mumu_jax.data.sources.synthetic.sound import DURATION_S, SR_HZ, STRAY, render_track, segments_timbre
from mumu_jax.errors import UserError
from mumu_jax.system.files import replacing
from mumu_jax.system.terminal import progress_bar
from mumu_jax.system.workers import map_in_order

SEED = 0
N_ALBUMS = {"train": 180, "val": 40, "test": 200}
N_BRANCHES = (0.50, 0.38, 0.12)  # chance of an album on one, two, three branches of the taxonomy
MAX_TRACKS = {"train": 3, "val": 3, "test": 1}
# With one genre an album: two of each of five families, as many songs of each, and three pieces of 29 s a song.
SINGLE_GENRES = ("Bebop", "Blues Rock", "Dub", "House", "Jazz", "Pop", "Reggae", "Rock", "Techno", "Vocal Pop")
N_SINGLES = {"train": 100, "val": 30, "test": 100}
SINGLE_DURATION_S = (90.0, 100.0)
SINGLE_STRAYS = (0.9, 0.9, 0.9)  # chances of a second voice in each third: a piece tells less than the song

# Most files are in the plainest format, a few in others, as in anyone's collection.  An mp3 costs half a second.
# (suffix, sample rate in Hz, channels, share of the tracks)
AUDIO_FORMATS = (
    ("flac", SR_HZ, 1, 0.90),
    ("flac", 44_100, 2, 0.04),
    ("wav", 48_000, 2, 0.05),
    ("mp3", 44_100, 2, 0.01),
)
# (suffix, Pillow's mode, share of the covers)
COVER_FORMATS = (("jpg", "RGB", 0.85), ("png", "RGB", 0.05), ("png", "P", 0.05), ("jpg", "L", 0.05))


@dataclass(frozen=True)
class Plan:
    """An album before it is made.  Its id, which holds the dataset's seed, seeds everything about it."""

    album_id: str
    split: str
    branches: tuple[str, ...]
    genres: tuple[str, ...]
    n_tracks: int = 1
    duration_s: tuple[float, float] = DURATION_S
    stray_chances: tuple[float, ...] = (STRAY,)

    def rng(self, item: str) -> np.random.Generator:
        """Return the random numbers that the album's cover, text or a track is made of."""
        return np.random.default_rng([*f"{self.album_id} {item}".encode()])


def read(path: Path | None, request: Request) -> Collection:
    """Make the mini dataset under `data_dir`/source, or what is missing of it, in `workers` processes."""
    if path is not None:
        raise UserError(f"the synthetic source is made, not read: leave out --input={path}")
    folder = request.data_dir / "source"
    albums = make(folder, SEED, request.workers)
    write_names(folder / "gazetteer")
    return Collection(albums, LABELS, gazetteer=folder / "gazetteer")


def read_single(path: Path | None, request: Request) -> Collection:
    """Make the mini dataset of one genre an album, as `read`."""
    if path is not None:
        raise UserError(f"the synthetic_single source is made, not read: leave out --input={path}")
    folder = request.data_dir / "source"
    albums = make_planned(folder, plan_singles(SEED), request.workers)
    return Collection(albums, [Label(genre) for genre in SINGLE_GENRES])


def write_names(path: Path) -> None:
    """Write the made-up names that the texts mention, and their categories, as a gazetteer."""
    write_gazetteer(path, {name: name for name in GAZETTEER}, GAZETTEER)


def make(folder: Path, seed: int, workers: int, n_albums: Mapping[str, int] = N_ALBUMS) -> list[Album]:
    """Return the albums of `seed`, with their files in `folder`, as `make_planned`."""
    return make_planned(folder, plan_albums(seed, n_albums), workers)


def make_planned(folder: Path, plans: Sequence[Plan], workers: int) -> list[Album]:
    """Return the planned albums, with their files in `folder`.

    Finished files of the same recipe (this code and these plans) are used again; those of another are removed.
    Raises UserError if the folder holds files but no recipe: they are not ours.
    """
    _start_recipe(folder, repr(plans))
    made = map_in_order(partial(_make_files, folder=folder), plans, workers, _died)
    with closing(made), progress_bar(len(plans), "making the mini dataset") as bar:
        albums = []
        for album in made:
            albums.append(album)
            bar.advance()
    return albums


def _died(plan: Plan) -> Album:
    raise UserError(f"the process that makes album {plan.album_id} died, twice; free some memory, then call again")


def _start_recipe(folder: Path, arguments: str) -> None:
    """Stamp the folder, and remove the files of another recipe by their names; files of other names stay."""
    code = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
    recipe = hashlib.sha256(code + arguments.encode()).hexdigest()
    stamp = folder / "recipe"
    folder.mkdir(parents=True, exist_ok=True)
    if not stamp.exists() and any(folder.iterdir()):
        said = f"{folder}: expected a new folder or one with the mini dataset's file {stamp.name}, found other files"
        raise UserError(f"{said}; nothing was changed; choose another --data_dir")
    if not stamp.exists() or stamp.read_text() != recipe:
        for path in folder.glob("*/mini[0-9]*-*"):
            path.unlink()
        stamp.write_text(recipe)
    for name in ("audio", "covers", "lyrics", "msd"):
        (folder / name).mkdir(exist_ok=True)


def plan_albums(seed: int, n_albums: Mapping[str, int] = N_ALBUMS) -> list[Plan]:
    """Plan all albums, split after split.  Every genre is on at least one in 22 of a split's albums, or on eight."""
    return [plan for split in SPLITS for plan in _plan_split(seed, split, n_albums.get(split, 0))]


def _plan_split(seed: int, split: str, n_albums: int) -> list[Plan]:
    """Draw the split until no genre is too rare; the draws are cheap and few are needed."""
    rng = np.random.default_rng((seed, SPLITS.index(split)))
    while True:
        plans = [
            _plan_album(f"mini{seed}-{split}-{i:03d}", split, _draw_branches(rng), int(rng.integers(MAX_TRACKS[split])))
            for i in range(n_albums)
        ]
        count = Counter(genre for plan in plans for genre in with_parents(plan.branches))
        if min(count[genre] for genre in BRANCHES) >= min(8, n_albums // 22):
            return plans


def _plan_album(album_id: str, split: str, branches: tuple[str, ...], n_more_tracks: int) -> Plan:
    return Plan(album_id, split, branches, with_parents(branches), n_more_tracks + 1)


def plan_singles(seed: int) -> list[Plan]:
    """Plan albums of one song and one genre, split after split."""
    return [
        Plan(f"mini{seed}-single-{split}-{i:03d}", split, (genre,), (genre,), 1, SINGLE_DURATION_S, SINGLE_STRAYS)
        for split, n in N_SINGLES.items()
        for i, genre in enumerate(islice(cycle(SINGLE_GENRES), n))
    ]


def _draw_branches(rng: np.random.Generator) -> tuple[str, ...]:
    """Draw one to three branches, the frequent ones more often; none above another."""
    weights = np.array([weight for _, weight, _ in BRANCHES.values()])
    n = rng.choice(len(N_BRANCHES), p=N_BRANCHES) + 1
    drawn = rng.choice(list(BRANCHES), size=n, replace=False, p=weights / weights.sum())
    above = {BRANCHES[branch][0] for branch in drawn}
    return tuple(str(branch) for branch in drawn if branch not in above)


def _make_files(plan: Plan, folder: Path) -> Album:
    """Make the missing files of an album, and describe it."""
    text = write_reviews(plan.branches, plan.rng("text"))
    tracks = tuple(_make_track(plan, number, folder) for number in range(1, plan.n_tracks + 1))
    cover = _make_cover(plan, folder)
    return Album(plan.album_id, plan.genres, tracks, plan.split, text, cover, n_reviews=len(text.splitlines()))


def _make_track(plan: Plan, number: int, folder: Path) -> Track:
    """Render a track and its timbre, in the file format of the Million Song Dataset, if either is missing.

    Its lyrics are written, too, from random numbers of their own.
    """
    rng = plan.rng(f"track {number}")
    suffix, sr_hz, channels, _ = AUDIO_FORMATS[rng.choice(len(AUDIO_FORMATS), p=[row[-1] for row in AUDIO_FORMATS])]
    track_id = f"{plan.album_id}-{number}"
    audio, timbre = folder / "audio" / f"{track_id}.{suffix}", folder / "msd" / f"{track_id}.h5"
    if not (audio.exists() and timbre.exists()):
        samples = render_track(plan.branches, rng, plan.duration_s, plan.stray_chances)
        with replacing(timbre) as path, h5py.File(path, "w") as file:
            file.create_dataset("analysis/segments_timbre", data=segments_timbre(samples))
        samples = soxr.resample(samples, SR_HZ, sr_hz)
        if channels == 2:
            samples = np.stack([samples, 0.8 * np.roll(samples, 20)], axis=1)
        with replacing(audio) as path:
            soundfile.write(path, samples, sr_hz, format=suffix.upper())
    lyrics = folder / "lyrics" / f"{track_id}.txt"
    if not lyrics.exists():
        with replacing(lyrics) as path:
            path.write_text(write_lyrics(plan.branches, plan.rng(f"lyrics {number}")), encoding="utf-8")
    return Track(track_id, audio, timbre, lyrics)


def _make_cover(plan: Plan, folder: Path) -> Path:
    rng = plan.rng("cover")
    suffix, mode, _ = COVER_FORMATS[rng.choice(len(COVER_FORMATS), p=[row[-1] for row in COVER_FORMATS])]
    cover = folder / "covers" / f"{plan.album_id}.{suffix}"
    if not cover.exists():
        with replacing(cover) as path:
            draw_cover(plan.branches, rng).convert(mode).save(path, Image.registered_extensions()[f".{suffix}"])
    return cover
