"""Million Song Dataset with the 50 most frequent tags of Last.fm, in two published divisions.

`won` are the lists of Lee et al. and Won et al. 2020, pickles of Python 2; `choi` those of Choi et al. 2016, text files
beside arrays [tracks, 50].  Songs are named by MSD track id or, as previews were, by the id of 7digital.
"""

import ast
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np

from mumu_jax.data.sources.dataset import Choice, Dataset, Entry, File, Listing, Subset
from mumu_jax.data.sources.finding import Finding, Report, some
from mumu_jax.data.sources.public.pickles import load_plain
from mumu_jax.data.sources.public.reading import source_of
from mumu_jax.data.sources.public.tables import read_array, read_lines

N_TAGS = 50
N_TRAIN = 201_680  # of Won's list of training and validation tracks
CHOI = "https://github.com/keunwoochoi/MSD_split_for_tagging"
WON = "https://github.com/minzwon/sota-music-tagging-models (split/msd)"
LISTS = {"train": "train", "val": "valid", "test": "test"}


def list_tracks(files: Mapping[str, Path], choice: Choice, report: Report) -> Listing:
    """Return the tracks of the lists with their tags."""
    tags = _read_tags(files["tags"], report)
    if len(tags) != N_TAGS:
        report(Finding("error", files["tags"], f"{N_TAGS} tags", f"{len(tags)}", "copy the file again"))
        return Listing([])
    return Listing(_won(files, tags, report) if choice.subset == "won" else _choi(files, tags, report))


def _read_tags(path: Path, report: Report) -> list[str]:
    """Return the tags in the order of the columns: a line each, or a list in a line of Python, which is not run."""
    if path.suffix != ".py":
        return read_lines(path)
    try:
        return list(ast.literal_eval(path.read_text(encoding="utf-8").partition("=")[2].strip()))
    except (ValueError, SyntaxError) as error:
        report(Finding("error", path, "TAGS = […]", str(error), "copy the file again"))
        return []


def _entry(track: str, of_7digital: str, labels: tuple[str, ...], split: str) -> Entry:
    names = [f"{track[2:3]}/{track[3:4]}/{track[4:5]}/{track}.mp3"]  # as the MSD's own files
    if of_7digital:
        folders = f"{of_7digital[:1]}/{of_7digital[1:2]}"
        names += [f"{folders}/{of_7digital}.clip.mp3", f"{folders}/{of_7digital}.mp3"]
    return Entry(track, labels, tuple(names), split)


# --- the text files and arrays of Choi et al. ---------------------------------------------------------------


def _choi(files: Mapping[str, Path], tags: list[str], report: Report) -> list[Entry]:
    entries = []
    for split in LISTS:
        tracks = read_lines(files[split])
        ids = read_lines(files[f"{split}_7d"]) if f"{split}_7d" in files else [""] * len(tracks)
        rows = read_array(files[f"{split}_y"], report)
        if rows is None:
            return []
        if rows.shape != (len(tracks), N_TAGS) or len(ids) != len(tracks):
            found = f"shape {rows.shape}, and {len(ids):,} ids of 7digital"
            expected = f"{len(tracks):,} rows of {N_TAGS} tags, as {files[split].name} has lines"
            report(Finding("error", files[f"{split}_y"], expected, found, f"take all files from one release: {CHOI}"))
            return []
        for track, id_, row in zip(tracks, ids, rows, strict=True):
            entries.append(_entry(track, id_, tuple(tags[column] for column in np.flatnonzero(row)), split))
    return entries


# --- the pickles of Lee et al. ------------------------------------------------------------------------------


def _won(files: Mapping[str, Path], tags: list[str], report: Report) -> list[Entry]:
    known, tracks = _load(files["tag_vectors"], dict, report), _load(files["tracks"], list, report)
    test = _load(files["test"], list, report)
    ids = _load(files["7digital"], dict, report) if "7digital" in files else {}
    parts = {"train": tracks[:N_TRAIN], "val": tracks[N_TRAIN:], "test": test}
    entries, without = [], []
    for split, of_split in parts.items():
        for track in map(str, of_split):
            vector = known.get(track)
            if not isinstance(vector, np.ndarray) or vector.size != N_TAGS:
                without.append(track)
                continue
            columns = np.flatnonzero(vector)  # of an array [50, 1]
            entries.append(_entry(track, str(ids.get(track, "")), tuple(tags[column] for column in columns), split))
    if without:
        found = f"none for {len(without):,}: {some(without)}"
        remedy = f"take all files from one release: {WON}; these tracks are left out"
        report(Finding("warning", files["tag_vectors"], f"{N_TAGS} numbers for each track", found, remedy))
    return entries


def _load(path: Path, kind: type, report: Report) -> Any:
    """Return the list or dict that a pickle holds, an empty one if it holds something else, which is an error."""
    try:
        content = load_plain(path)
    except (ValueError, TypeError, EOFError, KeyError, IndexError, AttributeError, UnpicklingError) as error:
        found = f"{type(error).__name__}: {error}"
        report(Finding("error", path, f"a pickled {kind.__name__} of plain data", found, f"download it: {WON}"))
        return kind()
    if isinstance(content, kind):
        return content
    report(Finding("error", path, f"a pickled {kind.__name__}", type(content).__name__, f"download it: {WON}"))
    return kind()


def _files(choice: Choice) -> dict[str, File]:
    if choice.subset == "won":
        return {
            "tracks": File("the list of training and validation tracks", ("filtered_list_train.cP",), WON),
            "test": File("the list of test tracks", ("filtered_list_test.cP",), WON),
            "tag_vectors": File("the tags of each track", ("msd_id_to_tag_vector.cP",), WON),
            "tags": File("the names of the tags", ("50tagList.txt",), WON),
            "7digital": File("the ids of 7digital, by which songs may be named", ("MSD_id_to_7D_id.pkl",), WON, True),
        }
    files = {"tags": File("the names of the tags", ("tags.py", "50tagList.txt"), CHOI)}
    for split, name in LISTS.items():
        files[split] = File(f"the list of {split} tracks", (f"{name}_x_msd_id.txt",), CHOI)
        files[f"{split}_y"] = File(f"the tags of the {split} tracks", (f"{name}_y.npy",), CHOI)
        files[f"{split}_7d"] = File(
            "the ids of 7digital, by which songs may be named", (f"{name}_x_7d_id.txt",), CHOI, True
        )
    return files


SOURCE = source_of(
    "msd_lastfm",
    Dataset(
        title="MSD Last.fm 50",
        citation="Bertin-Mahieux et al., The Million Song Dataset, ISMIR 2011, and the authors of the lists",
        licence="none is stated for the lists; the songs are not public",
        home="http://millionsongdataset.com/lastfm",
        n_tracks=242_854,
        subsets={
            "won": Subset("most frequent tags, the lists of Won et al. 2020", N_TAGS, ((N_TRAIN, 11_774, 28_435),)),
            "choi": Subset("most frequent tags, the lists of Choi et al. 2016", N_TAGS, ((201_680, 12_634, 28_540),)),
        },
        files=_files,
        list_tracks=list_tracks,
        audio="previews of 7digital are no longer public: use your own songs, named by MSD track id",
    ),
    folders=("audio", "msd"),
)
