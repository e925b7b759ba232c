"""Music4All: clips of 30 s with genres and lyrics, which its authors give on request.

All `.csv` files are separated by TAB and name tracks by `id`; `genres` are joined by commas.  There are no published
splits: tracks are split by artist.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from mumu_jax.data.sources.dataset import Choice, Dataset, Entry, File, Listing, Subset
from mumu_jax.data.sources.finding import Report
from mumu_jax.data.sources.joined import parts
from mumu_jax.data.sources.public.reading import source_of
from mumu_jax.data.sources.public.tables import read_tsv

FILES = {
    "genres": File("the genres of each track, separated by TAB", ("id_genres.csv",)),
    "artists": File("the artists, by whom tracks are split", ("id_information.csv",)),
}
LANGUAGES = {"languages": File("the language of each track's lyrics", ("id_lang.csv",))}


def list_tracks(files: Mapping[str, Path], choice: Choice, report: Report) -> Listing:
    """Return the tracks with their lyrics; of `english`, those that have lyrics in that language."""
    genres = _read_column(files["genres"], "genres", report)
    artists = dict(_read_column(files["artists"], "artist", report))
    languages = dict(_read_column(files["languages"], "lang", report)) if choice.subset == "english" else {}
    lyrics = _find_lyrics(files["genres"].parent / "lyrics")
    is_wanted = (lambda id_: languages.get(id_) == "en" and id_ in lyrics) if languages else lambda id_: True
    return Listing(
        [
            Entry(id_, parts(text, ","), (f"audios/{id_}.mp3",), artist=artists.get(id_, ""), text=lyrics.get(id_))
            for id_, text in genres
            if is_wanted(id_)
        ]
    )


def _read_column(path: Path, name: str, report: Report) -> list[tuple[str, str]]:
    """Return the id and the cell of a column of every row."""
    at, rows = read_tsv(path, ("id", name), report)
    return [(cells[at["id"]], cells[at[name]]) for _, cells in rows]


def _find_lyrics(folder: Path) -> dict[str, Path]:
    """Return the files `<id>.txt` that are not empty."""
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as files:
        names = [file.name for file in files if file.name.endswith(".txt") and file.stat().st_size]
    return {name.removesuffix(".txt"): folder / name for name in sorted(names)}


def _files(choice: Choice) -> dict[str, File]:
    return FILES | LANGUAGES if choice.subset == "english" else FILES


SOURCE = source_of(
    "music4all",
    Dataset(
        title="Music4All",
        citation="Santana et al., Music4All: A New Music Database and Its Applications, IWSSIP 2020",
        licence="for research, by agreement with its authors",
        home="https://sites.google.com/view/contact4music4all",
        n_tracks=109_269,
        subsets={
            "all": Subset("genres, all tracks", n_tracks=109_269),
            "english": Subset("genres, the tracks with English lyrics"),
        },
        files=_files,
        list_tracks=list_tracks,
        audio="get them from its authors and put them into audios/",
        audio_folders={"all": "audios", "english": "audios"},
    ),
)
