"""MTG-Jamendo: whole tracks under Creative Commons licences, with tags of three categories and five folds.

Each list is a TSV file whose lines end in CRLF: TRACK_ID ARTIST_ID ALBUM_ID PATH DURATION TAGS, and all cells from the
sixth on are tags, `category---tag`.  A list of one category has labels without it.
"""

from collections.abc import Mapping
from pathlib import Path

from mumu_jax.data.sources.dataset import Choice, Dataset, Entry, File, Listing, Subset
from mumu_jax.data.sources.finding import Report
from mumu_jax.data.sources.public.reading import source_of
from mumu_jax.data.sources.public.tables import read_tsv

LISTS = {"genre": "_genre", "instrument": "_instrument", "moodtheme": "_moodtheme", "top50": "_top50tags", "all": ""}
OF_ALL_CATEGORIES = ("top50", "all")
PARTS = {"train": "train", "val": "validation", "test": "test"}
SEPARATOR = "---"


def list_tracks(files: Mapping[str, Path], choice: Choice, report: Report) -> Listing:
    """Return the tracks of a fold's three lists; a label's parent is its category."""
    entries, parents = [], {}
    for split, path in files.items():
        at, rows = read_tsv(path, ("TRACK_ID", "ARTIST_ID", "PATH", "TAGS"), report)
        for _, cells in rows:
            tags = []
            for tag in filter(None, cells[at["TAGS"] :]):
                category, _, name = tag.partition(SEPARATOR)
                label = tag if choice.subset in OF_ALL_CATEGORIES else name
                parents[label] = category
                tags.append(label)
            path_of_song = cells[at["PATH"]]
            names = (path_of_song, f"{path_of_song.removesuffix('.mp3')}.low.mp3")
            entries.append(Entry(cells[at["TRACK_ID"]], tuple(tags), names, split, cells[at["ARTIST_ID"]]))
    return Listing(entries, parents)


def _files(choice: Choice) -> dict[str, File]:
    name = f"splits/split-{choice.fold}/autotagging{LISTS[choice.subset]}"
    return {split: File(f"the list of {split} tracks", (f"{name}-{part}.tsv",)) for split, part in PARTS.items()}


SOURCE = source_of(
    "jamendo",
    Dataset(
        title="MTG-Jamendo",
        citation="Bogdanov et al., The MTG-Jamendo Dataset for Automatic Music Tagging, ML4MD at ICML 2019",
        licence="metadata CC BY-NC-SA 4.0, each song under a Creative Commons licence of its own",
        home="https://github.com/MTG/mtg-jamendo-dataset",
        n_tracks=55_525,
        subsets={
            "genre": Subset(
                "genres",
                87,
                (
                    *((32_572, 11_043, 11_479), (32_746, 10_833, 11_515), (32_360, 12_185, 10_549)),
                    *((33_515, 10_656, 10_923), (31_305, 11_804, 11_985)),
                ),
            ),
            "instrument": Subset(
                "instruments",
                40,
                (
                    *((14_395, 5_466, 5_115), (14_943, 4_960, 5_073), (14_702, 5_066, 5_208)),
                    *((14_875, 5_068, 5_033), (14_829, 5_159, 4_988)),
                ),
            ),
            "moodtheme": Subset(
                "moods and themes",
                56,
                (
                    *((9_949, 3_802, 4_231), (10_190, 3_594, 4_198), (10_484, 4_085, 3_413)),
                    *((10_920, 3_500, 3_562), (10_241, 3_706, 4_035)),
                ),
            ),
            "top50": Subset(
                "most frequent tags",
                50,
                (
                    *((32_136, 10_888, 11_356), (32_395, 10_619, 11_366), (32_010, 11_961, 10_409)),
                    *((33_173, 10_468, 10_739), (30_868, 11_593, 11_919)),
                ),
            ),
            "all": Subset(
                "tags of all three",
                183,
                (
                    *((32_859, 11_101, 11_565), (33_007, 10_937, 11_581), (32_616, 12_246, 10_663)),
                    *((33_747, 10_757, 11_021), (31_509, 11_893, 12_123)),
                ),
            ),
        },
        files=_files,
        list_tracks=list_tracks,
        audio="get them by its scripts/download/download.py (--type audio, or audio-low for the small ones)",
    ),
)
