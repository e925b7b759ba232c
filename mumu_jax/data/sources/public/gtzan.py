"""GTZAN: ten genres, a hundred clips of 30 s each, and a split that keeps artists and repetitions apart.

Sturm (2013) found among the clips 50 exact repetitions, 22 more of the same recording, 13 versions, and 106 with a
wrong genre; 35 of reggae are Bob Marley's, 24 of pop Britney Spears'.  `filtered` are the lists of Kereliuk et al.
2015, which leave repetitions out and have no artist in two parts.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from mumu_jax.data.sources.dataset import Choice, Dataset, Entry, File, Listing, Subset
from mumu_jax.data.sources.finding import Report, rejecter
from mumu_jax.data.sources.public.reading import source_of
from mumu_jax.data.sources.public.tables import read_lines

GENRES = ("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock")
N_CLIPS = 100  # of each
LISTS = {"train": "train", "val": "valid", "test": "test"}
LINE = re.compile(rf"(?:({'|'.join(GENRES)})/)?({'|'.join(GENRES)})\.(\d{{5}})(?:\.\w+)?")


def list_tracks(files: Mapping[str, Path], choice: Choice, report: Report) -> Listing:
    """Return the clips of the three lists, or all clips, which a hash of their names splits."""
    if choice.subset == "all":
        return Listing([_entry(genre, f"{number:05d}", None) for genre in GENRES for number in range(N_CLIPS)])
    entries = []
    for split, path in files.items():
        reject = rejecter(report, path, "copy the file again")
        for number, line in enumerate(read_lines(path), 1):
            match = LINE.fullmatch(line)
            if match:
                entries.append(_entry(match[2], match[3], split))
            else:
                reject(number, "malformed", "genre/genre.NNNNN.wav", repr(line[:60]))
    return Listing(entries)


def _entry(genre: str, number: str, split: str | None) -> Entry:
    name = f"{genre}.{number}"
    return Entry(name, (genre,), (f"{genre}/{name}.wav",), split)


def _files(choice: Choice) -> dict[str, File]:
    if choice.subset == "all":
        return {}
    origin = "https://github.com/jongpillee/music_dataset_split (GTZAN_split); or take all clips: --subset=all"
    return {
        split: File(f"the list of {split} clips without faults", (f"{name}_filtered.txt",), origin)
        for split, name in LISTS.items()
    }


SOURCE = source_of(
    "gtzan",
    Dataset(
        title="GTZAN",
        citation="Tzanetakis and Cook, Musical Genre Classification of Audio Signals, IEEE TSAP 10(5), 2002",
        licence="none is known: clips of copyrighted recordings, for research",
        home="http://marsyas.info/downloads/datasets.html",
        n_tracks=1_000,
        subsets={
            "filtered": Subset("genres, the lists without faults", len(GENRES), ((443, 197, 290),)),
            "all": Subset("genres, all clips", len(GENRES), n_tracks=len(GENRES) * N_CLIPS),
        },
        files=_files,
        list_tracks=list_tracks,
        audio="get genres.tar.gz, or a copy of it as .wav, and unpack its ten folders there",
        faults={"jazz.00054": "its file is damaged in a widespread copy"},
    ),
)
