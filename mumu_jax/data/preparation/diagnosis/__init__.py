"""What an owner's MuMu folder has, what is wrong with it, and whether training can start."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mumu_jax.data.manifest import Album, assign_splits
from mumu_jax.data.preparation.diagnosis.fault import MUMU, SEVERITIES, Fault, of_error, some
from mumu_jax.data.preparation.diagnosis.media import KINDS, UNFINISHED, Kind, look_into
from mumu_jax.data.preparation.diagnosis.reviews import check_reviews
from mumu_jax.data.preparation.diagnosis.splits import check_splits
from mumu_jax.data.preparation.diagnosis.tables import read_tables
from mumu_jax.data.sources.mumu.csv_files import Listed, albums_by_id
from mumu_jax.data.sources.mumu.folders import find_folder
from mumu_jax.data.sources.mumu.release import ARCHIVES, find_release
from mumu_jax.errors import UserError


@dataclass(frozen=True)
class Coverage:
    """How much there is of a modality: `n` of `n_all` tracks or albums; `can_start` tells whether training can."""

    modality: str
    unit: str
    n: int
    n_all: int
    can_start: bool
    remark: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """The faults, the worst first, and what there is of audio, text, covers and timbre."""

    faults: list[Fault]
    coverage: list[Coverage]

    @property
    def can_start(self) -> bool:
        """Whether the data can be prepared and something be trained on it."""
        return not any(fault.severity == "error" for fault in self.faults)


def diagnose(input: Path, folders: Mapping[str, Path]) -> Diagnosis:
    """What is there in MuMu's folder, or beside the CSV file in it, and in the owner's `folders`: audio, covers, msd.

    Reads the tables, metadata and reviews whole, and of a folder at most `media.N_LOOKED_INTO` files.  Raises
    UserError where a path that the user names is not there.
    """
    if not input.exists():
        raise UserError(f"expected MuMu's folder, found nothing at {input}; correct the path")
    root = input if input.is_dir() else input.parent
    places = {kind.name: find_folder(kind.name, root, folders) for kind in KINDS}
    faults = list(_check_unpacked(root))
    try:
        release = find_release(input)
    except UserError as error:
        return Diagnosis([of_error(input, "a CSV file of MuMu, or the metadata", error), *faults], [])
    listed, of_tables = read_tables(release)
    faults += of_tables
    if not listed:
        return Diagnosis(_worst_first(faults), [])
    splits, of_splits = check_splits(release, listed)
    texts, of_reviews = check_reviews(release, listed.keys())
    faults += of_splits + of_reviews
    split_of = _all_splits(listed, splits)
    coverage = [Coverage("text", "albums", len(texts), len(listed), _can_start(texts, split_of))]
    for kind in KINDS:
        of_owner, of_folder = _check_folder(places[kind.name], kind, listed, split_of)
        coverage.append(of_owner)
        faults += of_folder
    if not any(one.can_start for one in coverage):
        expected = "audio, text, timbre or covers of albums in the splits train and val"
        sizes = Counter(split_of.values())
        found = f"not both; of all {len(listed):,} albums, {sizes['train']:,} are in train and {sizes['val']:,} in val"
        faults.append(Fault("error", root, expected, found, f"add reviews, audio, MSD files or covers; {MUMU}"))
    return Diagnosis(_worst_first(faults), coverage)


def _check_folder(
    folder: Path, kind: Kind, listed: Mapping[str, Listed], split_of: Mapping[str, str | None]
) -> tuple[Coverage, list[Fault]]:
    """What one of the owner's folders adds, and what is wrong with it."""
    album_of = albums_by_id(listed)
    wanted = listed.keys() if kind.of == "albums" else album_of.keys() - listed.keys()
    found = look_into(folder, kind, wanted)
    ids = found.ids if kind.of == "albums" else {album_of[key] for key in found.ids}
    remark = f"{found.n_looked_into:,} files looked into"
    return Coverage(
        kind.modality, kind.of, len(found.ids), len(wanted), _can_start(ids, split_of), remark
    ), found.faults


def _worst_first(faults: list[Fault]) -> list[Fault]:
    return sorted(faults, key=lambda fault: SEVERITIES.index(fault.severity))


def _check_unpacked(root: Path) -> Iterator[Fault]:
    """Archives and unfinished downloads where the released files should lie."""
    names = sorted(path.name for path in root.iterdir() if path.is_file())
    if archives := [name for name in names if name.lower().endswith(ARCHIVES) and not name.endswith(".json.gz")]:
        remedy = "unpack them in that folder, unless that is done"
        yield Fault("note", root, "files that are unpacked", f"archives: {some(archives)}", remedy)
    if unfinished := [name for name in names if Path(name).suffix.lower() in UNFINISHED]:
        found = f"unfinished: {some(unfinished)}"
        yield Fault("warning", root, "finished downloads", found, f"fetch them again; {MUMU}")


def _all_splits(listed: Mapping[str, Listed], published: Mapping[str, str]) -> dict[str, str | None]:
    albums = [Album(album_id, album.genres, (), published.get(album_id)) for album_id, album in listed.items()]
    return {album.album_id: album.split for album in assign_splits(albums)}


def _can_start(albums: Collection[str], split_of: Mapping[str, str | None]) -> bool:
    """Training needs something to learn from, and something to stop by."""
    return {"train", "val"} <= {split_of[album_id] for album_id in albums}
