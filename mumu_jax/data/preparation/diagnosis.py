"""Diagnosis of an owner's MuMu folder: what its readers find, how the files agree, and what training can start with."""

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from tokenize import TokenError

import numpy as np

from mumu_jax.config import ImageSettings
from mumu_jax.data.manifest import Album, Rejected, assign_splits
from mumu_jax.data.modalities import MODALITIES
from mumu_jax.data.modalities.image.read import read_image
from mumu_jax.data.modalities.suffixes import AUDIO_SUFFIXES, IMAGE_SUFFIXES
from mumu_jax.data.modalities.timbre import DATASET, read_timbre
from mumu_jax.data.sources.downloads import ARCHIVES, other_than_data, read_head
from mumu_jax.data.sources.files import files_below, read_list
from mumu_jax.data.sources.finding import SEVERITIES, Finding, Report, Severity, some
from mumu_jax.data.sources.folders import H5_SUFFIXES, find_folder, index_files
from mumu_jax.data.sources.mumu import Contents, read_files, taxonomy
from mumu_jax.data.sources.mumu.release import (
    COPY_AGAIN,
    FROM_HOME,
    GENRE_LABELS,
    METADATA,
    REVIEWS,
    SPLITS_FOLDER,
)
from mumu_jax.data.sources.mumu.tables import DATASETS, TARTARUS, albums_by_id
from mumu_jax.data.sources.tartarus import LABELS_PREFIX, items_index
from mumu_jax.errors import UserError

N_OPENED = 2_000  # files of a folder that are opened, spread evenly
UNFINISHED = frozenset({".part", ".partial", ".crdownload", ".download", ".tmp"})

# The released files: albums and tracks of the multi-label and of the single-label file, and labels.
PUBLISHED = {False: (31_471, 147_295), True: (2_321, 12_087)}
N_LABELS = 250

AS_MEANT = "nothing to do, if that is meant so"
ONE_RELEASE = f"take both files from one release; {FROM_HOME}"


@dataclass(frozen=True)
class Coverage:
    """The part of a modality that is there: `n` of `n_all` tracks or albums, and if training can start with it."""

    modality: str
    unit: str
    n: int
    n_all: int
    can_start: bool
    remark: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """The findings, the worst first, and the coverage of audio, text, covers and timbre."""

    findings: list[Finding]
    coverage: list[Coverage]

    def __post_init__(self) -> None:
        self.findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))

    @property
    def can_start(self) -> bool:
        """Tell if the data can be prepared and something be trained on it."""
        return not any(finding.severity == "error" for finding in self.findings)


def diagnose(path: Path, folders: Mapping[str, Path]) -> Diagnosis:
    """Examine MuMu's folder, or the CSV file `path` in it, and the owner's `folders`: audio, covers, msd.

    Reads the released files whole, and of a folder at most N_OPENED files.  Raises UserError if a path that the user
    names is missing.
    """
    if not path.exists():
        raise UserError(f"expected MuMu's folder, found nothing at {path}; correct the path")
    root = path if path.is_dir() else path.parent
    places = {kind.name: find_folder(kind.name, root, folders) for kind in KINDS}
    findings: list[Finding] = []
    contents = read_files(path, max_chars=1, report=findings.append)
    findings = [*merged(findings), *_check_downloads(root), *_check_tables(contents, findings)]
    coverage = []
    if contents.listed:
        findings += [*_check_splits(contents), *_check_reviews(contents)]
        split_of = _all_splits(contents)
        texts = contents.reviews.texts
        coverage.append(Coverage("text", "albums", len(texts), len(contents.listed), can_start(texts, split_of)))
        for kind in KINDS:
            coverage.append(_check_folder(places[kind.name], kind, contents, split_of, findings.append))
        if not any(modality.can_start for modality in coverage):
            sizes = Counter(split_of.values())
            expected = "audio, text, timbre or covers of albums in the splits train and val"
            found = f"not both; of {len(split_of):,} albums {sizes['train']:,} are in train, {sizes['val']:,} in val"
            remedy = f"add reviews, audio, MSD files or covers; {FROM_HOME}"
            findings.append(Finding("error", root, expected, found, remedy))
    return Diagnosis(findings, coverage)


_REASONS = {
    "not_utf8": "not in UTF-8",
    "too_long": "too long",
    "no_genre": "without a genre",
    "conflict": "in conflict",
}


def merged(findings: Sequence[Finding]) -> list[Finding]:
    """Return one finding for all lines of a file that are rejected for the same reason."""
    merged = []
    lines: dict[tuple[Path, str], list[Finding]] = {}
    for finding in findings:
        if finding.line is None or finding.reason is None:
            merged.append(finding)
        else:
            lines.setdefault((finding.path, finding.reason), []).append(finding)
    for (_, reason), (first, *others) in lines.items():
        found = f"{1 + len(others):,} {_REASONS.get(reason, reason)}, the first in line {first.line}: {first.found}"
        merged.append(replace(first, found=found, line=None))
    return merged


def _all_splits(contents: Contents) -> dict[str, str | None]:
    """Return every album's split, as preparing assigns it."""
    published = contents.splits.of_album
    albums = [Album(name, album.genres, (), published.get(name)) for name, album in contents.listed.items()]
    return {album.album_id: album.split for album in assign_splits(albums)}


def can_start(albums: Collection[str], split_of: Mapping[str, str | None]) -> bool:
    """Tell if there is something to learn from, and something to stop by."""
    return {"train", "val"} <= {split_of[album_id] for album_id in albums}


def _check_downloads(root: Path) -> Iterator[Finding]:
    """Find archives and unfinished downloads in the folder of the released files."""
    names = sorted(path.name for path in root.iterdir() if path.is_file())
    if archives := [name for name in names if name.lower().endswith(ARCHIVES) and not name.endswith(".json.gz")]:
        remedy = "unpack them in that folder, unless that is done"
        yield Finding("note", root, "files that are unpacked", f"archives: {some(archives)}", remedy)
    if unfinished := [name for name in names if Path(name).suffix.lower() in UNFINISHED]:
        found = f"unfinished: {some(unfinished)}"
        yield Finding("warning", root, "finished downloads", found, f"download them again; {FROM_HOME}")


# --- the released files: are they there, whole, and of one release? -----------------------------------------


def _check_tables(contents: Contents, findings: Sequence[Finding]) -> Iterator[Finding]:
    release, listed = contents.release, contents.listed
    if not release.genre_labels:
        remedy = "nothing to do: the labels are the genres that occur, in ASCII order too"
        yield _no_file("note", release.root / GENRE_LABELS, "the names of all genres", remedy)
    elif contents.published and len(contents.published) != N_LABELS:
        found = f"{len(contents.published):,}"
        yield Finding("note", release.genre_labels, f"{N_LABELS} genres, as published", found, AS_MEANT)
    if not release.metadata:
        remedy = "add it, or do without the tree of genres"
        yield _no_file("note", release.root / METADATA, "the albums' paths in the taxonomy", remedy)
    elif release.csv and listed and not any(finding.path == release.metadata for finding in findings):
        yield from _compare_metadata(release.metadata, contents)
    if release.metadata and not release.csv:
        found = "only the metadata, which names genres but no tracks"
        remedy = f"add it, or do without audio and timbre; {FROM_HOME}"
        yield Finding("warning", release.root, "a CSV file", found, remedy)
    if listed:
        yield from _check_counts(contents)


def _no_file(severity: Severity, path: Path, expected: str, remedy: str) -> Finding:
    return Finding(severity, path, expected, "no file", f"{remedy}; {FROM_HOME}")


def _check_counts(contents: Contents) -> Iterator[Finding]:
    release, listed = contents.release, contents.listed
    counts = Counter(genre for album in listed.values() for genre in album.genres)
    unused = [label for label in contents.published if label not in counts]
    if release.genre_labels and unused and not release.single_label:
        found = f"{len(unused):,} that are on none: {some(unused)}"
        remedy = "nothing to do: they are never learned"
        yield Finding("note", release.genre_labels, "genres that are on an album", found, remedy)
    n_albums, n_tracks = PUBLISHED[release.single_label]
    n_listed_tracks = sum(len(album.track_ids) for album in listed.values())
    if release.csv and (len(listed) < n_albums or n_listed_tracks < n_tracks):
        expected = f"{n_albums:,} albums and {n_tracks:,} tracks, as published"
        found = f"{len(listed):,} albums and {n_listed_tracks:,} tracks"
        yield Finding("note", release.csv, expected, found, f"{AS_MEANT}; else {COPY_AGAIN}")
    if rare := sorted(genre for genre, count in counts.items() if count < taxonomy.MIN_ALBUMS):
        expected = f"each genre on {taxonomy.MIN_ALBUMS} albums or more"
        yield Finding("note", release.album_list, expected, f"{len(rare):,} on fewer: {some(rare)}", AS_MEANT)


def _compare_metadata(path: Path, contents: Contents) -> Iterator[Finding]:
    """Compare the metadata's albums and genres with those of the CSV file."""
    listed, entries = contents.listed, contents.entries
    if missing := [album_id for album_id in listed if album_id not in entries]:
        found = f"none for {len(missing):,} of {len(listed):,} albums: {some(missing)}"
        yield Finding("warning", path, "the metadata of all albums", found, ONE_RELEASE)
    genres = {album_id: {*taxonomy.genres_of(entries[album_id].paths)} for album_id in listed if album_id in entries}
    differing = [album_id for album_id in genres if not genres[album_id].issuperset(listed[album_id].genres)]
    if differing and not contents.release.single_label:
        name = contents.release.album_list.name
        found = f"others than {name} for {len(differing):,} of {len(listed):,} albums: {some(differing)}"
        remedy = "nothing to do: the CSV file counts"
        yield Finding("note", path, "paths with the genres of all albums", found, remedy)


def _check_reviews(contents: Contents) -> Iterator[Finding]:
    path, reviews, albums = contents.release.reviews, contents.reviews, contents.listed
    if path is None:
        path = contents.release.root / REVIEWS
        yield _no_file("warning", path, "the reviews of the albums", "add it, or do without text")
        return
    severity: Severity = "note" if reviews.texts else "warning"
    if reviews.n_of_others:
        found = f"{reviews.n_of_others:,} of others, beside {reviews.counts.total():,}"
        remedy = "nothing to do: they are passed over"
        yield Finding(severity, path, "reviews of the data set's albums", found, remedy)
    if missing := [album_id for album_id in albums if album_id not in reviews.texts]:
        found = f"none for {len(missing):,} of {len(albums):,}: {some(missing)}"
        remedy = "nothing to do: text is learned from the others"
        yield Finding(severity, path, "a text for every album", found, remedy)


# --- the published splits -----------------------------------------------------------------------------------


def _check_splits(contents: Contents) -> Iterator[Finding]:
    """Compare the lists, and the arrays beside them, with the albums."""
    folder, splits = contents.release.root / SPLITS_FOLDER, contents.splits
    if splits.dataset is None:
        expected = f"{items_index(folder, 'train', DATASETS[0]).name} and those of val and test"
        remedy = f"nothing to do: albums are split by their hash; for the paper's splits, {TARTARUS}"
        yield Finding("note", folder, expected, "none", remedy)
        return
    album_of = albums_by_id(contents.listed)
    genres_of = {item: {*contents.listed[album_id].genres} for item, album_id in album_of.items()}
    if contents.release.single_label:
        genres_of = {}  # that file has other genres than the arrays
    labels_path = folder / f"{LABELS_PREFIX}{splits.dataset}.tsv"
    labels = read_list(labels_path, report=lambda finding: None) if labels_path.is_file() else []
    for split, items in splits.lists.items():
        yield from _check_list(items_index(folder, split, splits.dataset), items, album_of, contents)
        for path in sorted(folder.glob(f"y_{split}_class_*_{splits.dataset}.npy")):
            yield from _check_rows(path, items, labels, genres_of)
    missing = [album_id for album_id in contents.listed if album_id not in splits.of_album]
    if splits.of_album and missing:
        found = f"none for {len(missing):,} of {len(contents.listed):,} albums: {some(missing)}"
        remedy = f"take lists and tables from one release: these albums are split by their hash; {TARTARUS}"
        yield Finding("warning", folder, "a split for every album", found, remedy)


def _check_list(path: Path, items: list[str], album_of: Mapping[str, str], contents: Contents) -> Iterator[Finding]:
    unknown = [item for item in items if item not in album_of]
    if other := other_than_data(path):
        yield Finding("warning", path, "one id per line", other, f"copy the file again; {TARTARUS}")
    elif unknown:
        is_part = contents.release.single_label  # that file has a part of the albums that the lists name
        severity: Severity = "note" if is_part else "warning"
        remedy = AS_MEANT if is_part else f"take all from one release; {TARTARUS}"
        found = f"{len(unknown):,} of others: {some(unknown)}"
        yield Finding(severity, path, "ids of the data set's albums or tracks", found, remedy)


def _check_rows(
    path: Path, items: list[str], labels: list[str], genres_of: Mapping[str, set[str]]
) -> Iterator[Finding]:
    """Compare y_*.npy, which the source does not need, with what the tables say of the list's items."""
    remedy = f"nothing to do: the file is not read; or take all from one release; {TARTARUS}"
    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError, ValueError, SyntaxError, TokenError) as error:  # the last two of a damaged header
        yield Finding("warning", path, "a NumPy array", f"none: {error}", remedy)
        return
    if rows.ndim != 2 or len(rows) != len(items) or rows.shape[1] != (len(labels) or rows.shape[1]):
        expected = f"{len(items):,} × {len(labels) or 'any'} numbers: lines of items_index × genre_labels"
        yield Finding("warning", path, expected, f"shape {rows.shape}", remedy)
        return
    known = [(row, item) for row, item in zip(rows, items, strict=True) if labels and item in genres_of]
    differing = [item for row, item in known if {labels[column] for column in np.flatnonzero(row)} != genres_of[item]]
    if differing:
        found = f"others for {len(differing):,} of {len(items):,} items: {some(differing)}"
        yield Finding("warning", path, "the genres that the tables have", found, remedy)


# --- the owner's folders ------------------------------------------------------------------------------------


def _other_than_audio(path: Path) -> str | None:
    """Name the file's kind if it is not audio by its first bytes; decoding the rest is for `prepare`."""
    printable = {*range(32, 127), *b"\t\n\r"}
    return other_than_data(path) or ("plain text" if printable.issuperset(read_head(path)) else None)


def _other_than_image(path: Path) -> str | None:
    """Name the file's kind if it is not an image; one that begins like none of the usual kinds is read to see."""
    head = read_head(path)
    if head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"BM")) or head[8:12] == b"WEBP":
        return None
    with contextlib.suppress(Rejected):
        read_image(path, ImageSettings())
        return None
    return other_than_data(path) or f"a file that begins with {head[:8]!r}"


def _other_than_timbre(path: Path) -> str | None:
    """Name the file's kind if it is not an MSD .h5 that timbre can be read from."""
    head = read_head(path)
    if not head.startswith(b"\x89HDF\r\n\x1a\n"):
        return other_than_data(path) or f"a file that begins with {head[:8]!r}"
    try:
        read_timbre(path)
    except Rejected as rejected:
        return f"HDF5 whose {DATASET} is {rejected.reason}"
    return None


@dataclass(frozen=True)
class Kind:
    """A kind of folder: its name, the modality and content of its files, and where they are from."""

    name: str
    modality: str
    content: str
    suffixes: frozenset[str]
    other_than: Callable[[Path], str | None]
    origin: str

    @property
    def unit(self) -> str:
        """The things that have a file each: tracks or albums."""
        return MODALITIES[self.modality].unit

    @property
    def named_by(self) -> str:
        return "amazon_id" if self.unit == "albums" else "MSD track id"


KINDS = (
    Kind(
        name="audio",
        modality="audio",
        content="audio",
        suffixes=AUDIO_SUFFIXES,
        other_than=_other_than_audio,
        origin="audio is not part of MuMu but the owner's own",
    ),
    Kind(
        name="covers",
        modality="image",
        content="an image",
        suffixes=IMAGE_SUFFIXES,
        other_than=_other_than_image,
        origin="covers are not part of MuMu but the owner's own; the metadata's imUrl says where each was",
    ),
    Kind(
        name="msd",
        modality="timbre",
        content="timbre in HDF5",
        suffixes=H5_SUFFIXES,
        other_than=_other_than_timbre,
        origin="the .h5 files are those of the Million Song Dataset, http://millionsongdataset.com",
    ),
)


Add = Callable[[Severity, str, str, str], None]  # takes what a report takes, for a path that is known


def _check_folder(
    path: Path, kind: Kind, contents: Contents, split_of: Mapping[str, str | None], report: Report
) -> Coverage:
    """Compare the files of one of the owner's folders with the data set, and look into at most N_OPENED of them."""
    album_of = albums_by_id(contents.listed)
    wanted = {*contents.listed} if kind.unit == "albums" else album_of.keys() - contents.listed.keys()

    def add(severity: Severity, expected: str, found: str, remedy: str) -> None:
        report(Finding(severity, path, expected, found, f"{remedy}; {kind.origin}"))

    files = {}
    if wanted and path.is_dir():
        files = index_files(path, kind.suffixes)
        _check_names(path, files, wanted, kind, add)
    elif wanted:
        remedy = f"name it by --{kind.name}_dir, or do without {kind.modality}"
        add("warning", f"a folder with {kind.content} of the {kind.unit}", "none", remedy)
    files = {name: files[name] for name in sorted(files.keys() & wanted)}
    ids, n_opened = look_into(kind, path, files, add)
    starts = can_start({album_of[name] for name in ids}, split_of)
    return Coverage(kind.modality, kind.unit, len(ids), len(wanted), starts, f"{n_opened:,} files looked into")


def look_into(kind: Kind, folder: Path, files: Mapping[str, Path], add: Add) -> tuple[set[str], int]:
    """Open at most N_OPENED files; return the names of all but those of another kind, and the number of opened ones."""
    names = list(files)
    opened = names[:: -(-len(names) // N_OPENED)] if names else []
    others = {name: other for name in opened if (other := _other_than(kind, files[name]))}
    for other in sorted(set(others.values())):
        paths = [os.path.relpath(files[name], folder) for name in others if others[name] == other]
        found = f"{other} in {len(paths):,} of {len(opened):,} files looked into: {some(paths)}"
        add("warning", f"{kind.content} in every file", found, "get them again, or remove them: they are left out")
    return {*names} - others.keys(), len(opened)


def _check_names(path: Path, files: Mapping[str, Path], wanted: Set[str], kind: Kind, add: Add) -> None:
    """Compare the names of the files in a folder with the ids that are wanted."""
    strange = sorted(files.keys() - wanted)
    lengths = {len(name) for name in wanted}
    misnamed = {name for name in strange if any(name[:n].upper() in wanted for n in lengths)}
    others = [name for name in strange if name not in misnamed]
    if unfinished := sorted(file.name for file in index_files(path, UNFINISHED).values()):
        found = f"{len(unfinished):,} unfinished: {some(unfinished)}"
        add("warning", "finished downloads", found, "download them again")
    if misnamed:
        found = f"{len(misnamed):,} with other or more letters: {some(sorted(misnamed))}"
        remedy = "rename them: the id as in the CSV file, then the extension"
        add("warning", f"files named exactly by {kind.named_by}", found, remedy)
    if not wanted.isdisjoint(files):
        if others:
            expected = f"files named by an {kind.named_by} of the data set"
            found = f"{len(others):,} of other names: {some(others)}"
            add("note", expected, found, "nothing to do: they are unused")
        if missing := sorted(wanted - files.keys()):
            found = f"none for {len(missing):,} of {len(wanted):,} {kind.unit}: {some(missing)}"
            add("note", f"a file for each of the {kind.unit}", found, "add what you have")
    elif not misnamed:
        names = [file.name for file in files_below(path)]
        found = f"{len(names):,} other files: {some(names)}" if names else "an empty folder"
        remedy = f"name the files so, or give their folder as --{kind.name}_dir"
        add("warning", f"files of {kind.content} named by {kind.named_by}", found, remedy)


def _other_than(kind: Kind, path: Path) -> str | None:
    try:
        return kind.other_than(path)
    except OSError as error:
        return f"nothing that can be read ({error.strerror or error})"
