"""A small MuMu: the released files under their names, with their headers, quoting and quirks, and an owner's folders.

Genres show in the reviews' words, the tones and the timbre, so that training on it learns something.
"""

import csv
import gzip
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import soundfile
from PIL import Image

from mumu_jax.data.sources.mumu.release import GENRE_LABELS, METADATA, MULTI_LABEL_CSV, REVIEWS, SINGLE_LABEL_CSV
from mumu_jax.data.sources.mumu.tables import HEADER

# Genre at the top, the one below it, words of its reviews, and the tone of its tracks in Hz.
STYLES = (
    ("Rock", "Progressive Rock", ["band", "Guitar", "riff", "drums", "loud", "amplifier", "solo", "live"], 110),
    (
        "Jazz",
        "Vocal Jazz",
        ["Saxophone", "swing", "quartet", "improvised", "trumpet", "standards", "blue", "note"],
        440,
    ),
    (
        "Classical",
        "Theatrical, Incidental & Program Music",
        ["orchestra", "conductor", "strings", "suite", "ballet", "opus"],
        220,
    ),
    ("Reggae", "Dub", ["Jamaica", "riddim", "island", "bass", "echo", "roots", "Kingston"], 880),
)
COMMON = [
    "the",
    "a",
    "this",
    "album",
    "is",
    "and",
    "with",
    "songs",
    "from",
    "one",
    "of",
    "my",
    "favourite",
    "very",
    "good",
    "bought",
    "it",
    "again",
    "love",
    "sound",
]
NO_IMAGE = "http://g-ecx.images-amazon.com/images/G/01/x-site/icons/no-img-sm._CB192198896_.gif"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
SR_HZ = 22_050
FRAMINGS = ("array", "pretty", "lines", "dict", "python")


@dataclass
class Made:
    """An album of the fixture, as the files should be read; `style` is its row of STYLES."""

    style: int
    paths: list[list[str]]
    genres: tuple[str, ...]
    split: str
    reviews: list[str]
    has_cover: bool
    # whether there is an audio file, and whether a .h5
    tracks: dict[str, tuple[bool, bool]] = field(default_factory=dict)


def write_mumu(
    folder: Path,
    *,
    n_albums: int = 40,
    reviews: str = "array",
    gzipped: bool = False,
    splits: str | None = "albums",
    nested: bool = False,
    seed: int = 0,
) -> dict[str, Made]:
    """Write it; the albums by amazon_id.

    `reviews` is one of FRAMINGS; `splits` says of what the lists are (albums, tracks, None for no lists); `nested` is
    whether the audio lies in MSD's folders, as the `.h5` files always do.
    """
    rng = np.random.default_rng(seed)
    albums = {f"B000{rng.integers(36**5):06X}"[:10]: _plan(i, n_albums, rng) for i in range(n_albums)}
    folder.mkdir(parents=True, exist_ok=True)
    _write_tables(folder, albums)
    _write_metadata(folder / METADATA, albums)
    write_reviews(folder / (f"{REVIEWS}.gz" if gzipped else REVIEWS), albums, reviews)
    if splits:
        _write_splits(folder / "splits", albums, splits)
    _write_owned(folder, albums, nested, rng)
    return albums


def msd_path(track_id: str, suffix: str) -> Path:
    """MSD's way: A/B/C/TRABC….suffix."""
    return Path(*track_id[2:5]) / f"{track_id}{suffix}"


def _plan(number: int, n_albums: int, rng: np.random.Generator) -> Made:
    style = number % len(STYLES)
    top, below, words, _ = STYLES[style]
    paths = [["CDs & Vinyl", top]]
    if number % 3:
        paths = [["CDs & Vinyl", top, below]]
    if number % 5 < 2:
        paths.append(["CDs & Vinyl", STYLES[(style + 1) % len(STYLES)][0]])
    if number % 2:
        paths.append(["Digital Music", "Albums", top])
    genres = dict.fromkeys(node for path in paths if path[0] == "CDs & Vinyl" for node in path[1:])
    n_reviews = 0 if number == 1 else 1 + number % 4
    made = Made(
        style,
        paths,
        tuple(genres),
        # the last ones, so that each style is in each split
        split="test" if number >= n_albums - 5 else "val" if number >= n_albums - 10 else "train",
        reviews=[" ".join(rng.permutation(words + COMMON)[:15]) + "." for _ in range(n_reviews)],
        has_cover=number % 9 != 4,
    )
    if made.reviews and number % 7 == 3:
        made.reviews[0] = f'“{made.reviews[0]}”\n\nIt\'s a café’s \\ "classic" {{really}}, [no] \U0001f3b8'
    for i in range(1 + number % 3):
        letters = "".join(rng.choice(list(LETTERS), 5))
        missing = number % 10 == 5 and i == 0
        made.tracks[f"TR{letters}128F{rng.integers(16**7):07X}"] = (not missing, number % 8 != 6)
    return made


# --- the released files -------------------------------------------------------------------------------------


def _write_tables(folder: Path, albums: dict[str, Made]) -> None:
    multi, single = [], []
    for album_id, made in albums.items():
        for track_id in made.tracks:
            row = [album_id, _mbid(album_id), track_id, _mbid(track_id), _mbid(album_id[::-1])]
            multi.append([*row, ",".join(made.genres)])
            single.append([*row, made.genres[0]])
    multi.insert(4, multi[3])  # a track that is listed twice
    for name, rows in ((MULTI_LABEL_CSV, multi), (SINGLE_LABEL_CSV, single[: len(single) // 2])):
        with (folder / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([HEADER, *rows])
    names = sorted({genre for made in albums.values() for genre in made.genres})
    (folder / GENRE_LABELS).write_text("".join(f"{name}\n" for name in names))


def _mbid(name: str) -> str:
    digits = name.encode().hex().ljust(32, "0")[:32]
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _write_metadata(path: Path, albums: dict[str, Made]) -> None:
    entries = []
    for number, (album_id, made) in enumerate(albums.items()):
        image = f"http://ecx.images-amazon.com/images/I/{album_id}.jpg" if made.has_cover else NO_IMAGE
        entry: dict[str, Any] = {"amazon_id": album_id, "imUrl": image, "categories": made.paths}
        if number % 4:
            entry |= {"title": f"Album {number}", "price": 9.99, "brand": "Various"}
        if number % 2:
            entry |= {"related": {"also_bought": list(albums)[:3]}, "salesRank": {"Music": number}}
        entries.append(entry)
    path.write_text(json.dumps(entries))


def write_reviews(path: Path, albums: dict[str, Made], framing: str) -> None:
    """All reviews, an album's in order but not side by side, with two of an album that is not MuMu's."""
    records = [
        {
            **{"reviewerID": f"A{i}{album_id}", "amazon_id": album_id, "reviewerName": "Someone", "helpful": [i, 4]},
            **{"reviewText": text, "overall": 5.0, "summary": "Five stars", "unixReviewTime": 1_300_000_000 + i},
        }
        for i in range(4)
        for album_id, made in albums.items()
        for text in made.reviews[i : i + 1]
    ]
    records[2:2] = [{"amazon_id": "B00NOTMUMU", "reviewText": "another"}] * 2
    by_album: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        by_album.setdefault(record["amazon_id"], []).append(record)
    written = {
        "array": lambda: json.dumps(records),
        "pretty": lambda: json.dumps(records, indent=2),
        "lines": lambda: "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records),
        "dict": lambda: json.dumps(by_album),
        "python": lambda: "".join(f"{record!r}\n" for record in records),
    }[framing]()
    with gzip.open(path, "wb") if path.suffix == ".gz" else path.open("wb") as file:
        file.write(written.encode())


def _write_splits(folder: Path, albums: dict[str, Made], of: str) -> None:
    folder.mkdir()
    for split in ("train", "val", "test"):
        here = {album_id: made for album_id, made in albums.items() if made.split == split}
        ids = list(here) if of == "albums" else [track for made in here.values() for track in made.tracks]
        (folder / f"items_index_{split}_MuMu-{of}.tsv").write_text("".join(f"{item_id}\n" for item_id in ids))


# --- what the owner has -------------------------------------------------------------------------------------


def _write_owned(folder: Path, albums: dict[str, Made], nested: bool, rng: np.random.Generator) -> None:
    (folder / "covers").mkdir()
    for number, (album_id, made) in enumerate(albums.items()):
        tone_hz = STYLES[made.style][3]
        for track_id, (has_audio, has_timbre) in made.tracks.items():
            suffix = ".wav" if number % 6 == 0 else ".flac"
            path = folder / "audio" / (msd_path(track_id, suffix) if nested else f"{track_id}{suffix}")
            if has_audio:
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, _tone(tone_hz, rng), SR_HZ)
            path = folder / "msd" / msd_path(track_id, ".h5")
            if has_timbre:
                path.parent.mkdir(parents=True, exist_ok=True)
                with h5py.File(path, "w") as file:
                    timbre = rng.normal(size=(20, 12)) * 10 + 30 * np.eye(12)[made.style]
                    file["analysis/segments_timbre"] = timbre
        if made.has_cover:
            pixels = rng.integers(0, 80, (40, 40, 3)) + 40 * np.eye(4)[made.style][:3].astype(int) * 4
            Image.fromarray(pixels.astype(np.uint8)).save(folder / "covers" / f"{album_id}.jpg")


def _tone(frequency_hz: float, rng: np.random.Generator) -> np.ndarray:
    t = np.arange(int(2.5 * SR_HZ)) / SR_HZ
    tone = sum(np.sin(2 * np.pi * frequency_hz * k * t) / k for k in (1, 2, 3))
    return (0.2 * tone + 0.02 * rng.normal(size=t.size)).astype(np.float32)
