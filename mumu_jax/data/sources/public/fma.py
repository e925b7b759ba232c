"""Free Music Archive (FMA): tracks under Creative Commons licences with a tree of 163 genres.

`tracks.csv` has three header rows: group, name, and the name of the index.  Its cells may hold line breaks, and lists
are Python literals.  Labels are `genres_all`, a track's genres with all above them: `genre_top` is empty for half of
the tracks.
"""

import ast
import csv
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TextIO

from mumu_jax.data.sources.dataset import Choice, Dataset, Entry, File, Listing, Subset
from mumu_jax.data.sources.finding import Finding, Report, rejecter, some
from mumu_jax.data.sources.public.reading import source_of

COLUMNS = (("set", "split"), ("set", "subset"), ("artist", "id"), ("track", "genres_all"))
SUBSETS = ("small", "medium", "large")  # each holds those before it
SPLIT_OF = {"training": "train", "validation": "val", "test": "test"}
LONGEST = 1 << 24  # characters of a cell: biographies are longer than the csv module's default limit


def list_tracks(files: Mapping[str, Path], choice: Choice, report: Report) -> Listing:
    """Return the tracks of a subset; `full` has those of `large` in full length."""
    titles, parents = _read_genres(files["genres"], report)
    wanted = SUBSETS[: SUBSETS.index(choice.subset) + 1] if choice.subset in SUBSETS else SUBSETS
    reject = rejecter(report, files["tracks"], "copy the file again")
    entries, unknown = [], set()
    for line, track, (split, subset, artist, genres) in _read_tracks(files["tracks"], report):
        if subset not in wanted:
            continue
        ids = _literal(genres)
        if split not in SPLIT_OF or ids is None or not track.isdigit():
            found = f"{track!r}, {split!r}, {genres!r:.40}"
            reject(line, "malformed", "a number, training, validation or test, and a list of genres", found)
            continue
        unknown |= {*ids} - titles.keys()
        name = f"{int(track):06d}"
        labels = tuple(dict.fromkeys(titles[genre] for genre in ids if genre in titles))
        entries.append(Entry(name, labels, (f"{name[:3]}/{name}.mp3",), SPLIT_OF[split], artist))
    if unknown:
        found, remedy = f"others: {some(sorted(unknown))}", "take both files from one release: they are left out"
        report(Finding("warning", files["tracks"], f"genres of {files['genres'].name}", found, remedy))
    return Listing(entries, parents)


@cache
def _literal(text: str) -> tuple[int, ...] | None:
    """Return the numbers of a list, None if the text is not one."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    return tuple(value) if isinstance(value, list) and all(isinstance(one, int) for one in value) else None


def _read_genres(path: Path, report: Report) -> tuple[dict[int, str], dict[str, str]]:
    """Return the titles by id, and each title's parent."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as lines:
        rows = list(csv.DictReader(lines))
    try:
        titles = {int(row["genre_id"]): row["title"] for row in rows}
        parents = {row["title"]: titles.get(int(row["parent"])) for row in rows}
    except (KeyError, TypeError, ValueError) as error:
        report(Finding("error", path, "genre_id, parent and title of each genre", repr(error), "copy the file again"))
        return {}, {}
    return titles, {title: parent for title, parent in parents.items() if parent}


def _read_tracks(path: Path, report: Report) -> Iterator[tuple[int, str, list[str]]]:
    """Yield line number, track id, and the cells of COLUMNS of every row below the three header rows."""
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST))
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as lines:
        at = _header(lines, path, report)
        rows = csv.reader(lines)
        for cells in rows if at else ():
            if len(cells) > max(at):
                yield 3 + rows.line_num, cells[0], [cells[number] for number in at]


def _header(lines: TextIO, path: Path, report: Report) -> list[int]:
    """Read the header rows; return the numbers of COLUMNS, none if one is missing."""
    groups, names, index = (next(csv.reader([next(lines, "\n")]), [""]) for _ in range(3))
    numbers = {column: number for number, column in enumerate(zip(groups, names, strict=False))}
    missing = [" ".join(column) for column in COLUMNS if column not in numbers]
    if missing or index[:1] != ["track_id"]:
        found = f"none of {', '.join(missing)}" if missing else f"{index[:1]} in the third"
        expected = "three header rows, the third of which begins with track_id"
        report(Finding("error", path, expected, found, "use the file as it was released", line=1))
        return []
    return [numbers[column] for column in COLUMNS]


def _files(choice: Choice) -> dict[str, File]:
    return {
        "tracks": File("the tracks with their genres, splits and artists", ("tracks.csv",)),
        "genres": File("the titles and parents of the genres", ("genres.csv",)),
    }


ALL = (84_353, 11_263, 10_958)
SOURCE = source_of(
    "fma",
    Dataset(
        title="FMA",
        citation="Defferrard et al., FMA: A Dataset for Music Analysis, ISMIR 2017",
        licence="metadata CC BY 4.0, each song under a Creative Commons licence of its own",
        home="https://github.com/mdeff/fma",
        n_tracks=106_574,
        subsets={
            "small": Subset("genres and sub-genres of 8 roots, clips of 30 s", None, ((6_400, 800, 800),)),
            "medium": Subset("genres and sub-genres of 16 roots, clips of 30 s", None, ((19_922, 2_505, 2_573),)),
            "large": Subset("genres, clips of 30 s", 161, (ALL,)),
            "full": Subset("genres, whole tracks", 161, (ALL,)),
        },
        files=_files,
        list_tracks=list_tracks,
        audio="get fma_SUBSET.zip there and unpack it beside fma_metadata",
        audio_folders={subset: f"fma_{subset}" for subset in (*SUBSETS, "full")},
        faults=dict.fromkeys(("099134", "108925", "133297"), "its file has no sound"),
    ),
)
