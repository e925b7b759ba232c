"""The owner's folders, audio, covers and MSD files: whose file is there, and whether it is what its name says."""

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mumu_jax.config import ImageSettings
from mumu_jax.data.manifest import Rejected
from mumu_jax.data.modalities.image.read import read_image
from mumu_jax.data.preparation.diagnosis import content
from mumu_jax.data.preparation.diagnosis.fault import Fault, some
from mumu_jax.data.sources.files import AUDIO_SUFFIXES, IMAGE_SUFFIXES, files_below
from mumu_jax.data.sources.mumu import H5_SUFFIXES
from mumu_jax.data.sources.mumu.folders import index_files

N_LOOKED_INTO = 2_000  # files of a folder that are opened, spread evenly
UNFINISHED = frozenset({".part", ".partial", ".crdownload", ".download", ".tmp"})


@dataclass(frozen=True)
class Kind:
    """What lies in one of the folders: how its files are named and known, what they hold, and whose they are."""

    name: str
    modality: str
    of: str
    named_by: str
    suffixes: frozenset[str]
    holds: str
    other_than: Callable[[Path], str | None]
    origin: str


def _other_than_image(path: Path) -> str | None:
    """What the file is instead of an image; one that begins like none of the usual kinds is read to see."""
    other = content.other_than_image(path)
    if other is not None:
        with contextlib.suppress(Rejected):
            read_image(path, ImageSettings())
            return None
    return other


KINDS = (
    Kind(
        *("audio", "audio", "tracks", "MSD track id", AUDIO_SUFFIXES, "audio", content.other_than_audio),
        "audio is no part of MuMu but the owner's own",
    ),
    Kind(
        *("covers", "image", "albums", "amazon_id", IMAGE_SUFFIXES, "an image", _other_than_image),
        "covers are no part of MuMu but the owner's own; the metadata's imUrl says where each was",
    ),
    Kind(
        *("msd", "timbre", "tracks", "MSD track id", H5_SUFFIXES, "timbre in HDF5", content.other_than_timbre),
        "the .h5 files are those of the Million Song Dataset, http://millionsongdataset.com",
    ),
)


@dataclass(frozen=True)
class Found:
    """The ids that have a file of use, how many of the files were opened, and what is wrong with the folder."""

    ids: frozenset[str]
    n_looked_into: int
    faults: list[Fault]


def look_into(folder: Path, kind: Kind, wanted: Collection[str]) -> Found:
    """What a folder has for the ids `wanted`, and which of its files are of no use."""
    if not wanted:
        return Found(frozenset(), 0, [])
    if not folder.is_dir():
        return Found(frozenset(), 0, [_no_folder(folder, kind)])
    there = index_files(folder, kind.suffixes)
    named, strange = sorted(there.keys() & wanted), sorted(there.keys() - wanted)
    lengths = {len(key) for key in wanted}
    misnamed = [name for name in strange if any(name[:n].upper() in wanted for n in lengths)]
    faults = [*_unfinished(folder, kind), *_misnamed(folder, kind, misnamed)]
    if not named:
        return Found(frozenset(), 0, faults if misnamed else [*faults, _no_file(folder, kind)])
    faults += _of_others(folder, kind, sorted({*strange}.difference(misnamed)))
    chosen = named[:: -(-len(named) // N_LOOKED_INTO)]
    bad = {key: other for key in chosen if (other := _other(there[key], kind))}
    faults += _damaged(folder, kind, {there[key]: other for key, other in bad.items()}, len(chosen))
    if missing := sorted(wanted - there.keys()):
        found = f"none for {len(missing):,} of {len(wanted):,} {kind.of}: {some(missing)}"
        faults.append(
            Fault("note", folder, f"a file for each of the {kind.of}", found, f"add what you have; {kind.origin}")
        )
    return Found(frozenset(key for key in named if key not in bad), len(chosen), faults)


def _no_folder(folder: Path, kind: Kind) -> Fault:
    remedy = f"give it as --{kind.name}_dir, or do without {kind.modality}; {kind.origin}"
    return Fault("warning", folder, f"a folder with {kind.holds} of the {kind.of}", "none", remedy)


def _no_file(folder: Path, kind: Kind) -> Fault:
    names = [path.name for path in files_below(folder)]
    found = f"{len(names):,} other files: {some(names)}" if names else "an empty folder"
    remedy = f"name the files so, or give their folder as --{kind.name}_dir; {kind.origin}"
    return Fault("warning", folder, f"files of {kind.holds} named by {kind.named_by}", found, remedy)


def _unfinished(folder: Path, kind: Kind) -> Iterator[Fault]:
    names = [path.name for path in index_files(folder, UNFINISHED).values()]
    if names:
        found = f"{len(names):,} unfinished: {some(sorted(names))}"
        yield Fault("warning", folder, "finished downloads", found, f"fetch them again; {kind.origin}")


def _misnamed(folder: Path, kind: Kind, names: Sequence[str]) -> Iterator[Fault]:
    if names:
        found = f"{len(names):,} with other or more letters: {some(names)}"
        remedy = "rename them: the id as in the CSV file, then the extension"
        yield Fault("warning", folder, f"files named exactly by {kind.named_by}", found, remedy)


def _of_others(folder: Path, kind: Kind, names: Sequence[str]) -> Iterator[Fault]:
    if names:
        found = f"{len(names):,} of other names: {some(names)}"
        expected = f"files named by an {kind.named_by} of the data set"
        yield Fault("note", folder, expected, found, "nothing: they are passed over")


def _damaged(folder: Path, kind: Kind, bad: dict[Path, str], n_looked_into: int) -> Iterator[Fault]:
    """One fault for every way in which files are of no use."""
    for other in sorted(set(bad.values())):
        names = [path.relative_to(folder).as_posix() for path, why in bad.items() if why == other]
        found = f"{other} in {len(names):,} of {n_looked_into:,} files looked into: {some(names)}"
        remedy = f"fetch them again, or remove them: they are left out; {kind.origin}"
        yield Fault("warning", folder, f"{kind.holds} in every file", found, remedy)


def _other(path: Path, kind: Kind) -> str | None:
    try:
        return kind.other_than(path)
    except OSError as error:
        return f"nothing that can be read ({error.strerror or error})"
