"""Late fusion: albums as the joined feature vectors of other runs.  Oramas et al. 2017, sections 5.4 and 6.4.

A fusion run keeps the vectors, so that it needs the other runs only to tag:

fusion.json      by modality the run that its vectors are of, and the labels and albums of the data
features/*.npz   by modality the vectors of all albums that have it, as `features.write_features` writes them
"""

import dataclasses
import hashlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from mumu_jax.config import Config
from mumu_jax.data.manifest import SPLITS, Label, albums_sha256, read_manifest
from mumu_jax.data.store.records import Dataset, HeldRecords, Records, open_prepared, sha256_of
from mumu_jax.errors import UserError
from mumu_jax.runs.features import Features, read_features, write_features
from mumu_jax.system.files import write_json
from mumu_jax.system.processes import is_main

FUSION = "fusion.json"


@dataclass(frozen=True)
class Source:
    """A run whose vectors are kept: where it was, its fingerprint, the vectors' width and their file's checksum.

    `relative` is where it was as seen from the fusion's folder: both may have moved together.
    """

    path: str
    fingerprint: str
    width: int
    sha256: str
    relative: str = ""

    def folder(self, workdir: Path) -> Path:
        """Where it is now, if it is in one of these places; `workdir` is the fusion's folder."""
        places = [Path(self.path), workdir / self.relative] if self.relative else [workdir / self.path]
        # No export has constants.
        return next((place for place in places if (place / "constants.npz").exists()), places[0])


@dataclass(frozen=True)
class Kept:
    """What `fusion.json` says; `sources` are by modality, in the order in which their vectors are joined."""

    data_dir: Path
    albums_sha256: str
    labels: list[Label]
    sources: dict[str, Source]


@dataclass(frozen=True)
class Fused(Dataset):
    """Albums with a joined vector each: a data set that is held in memory."""

    sources: dict[str, Source]
    records: dict[str, list[dict[str, Any]]]  # by split

    def split(self, name: str) -> Records:
        return HeldRecords(self.records[name])


def open_data(config: Config, data_dir: Path, workdir: Path) -> Dataset:
    """What the run in `workdir` sees of its data: what is prepared in `data_dir`, or, of a fusion, what it keeps.

    Raises UserError where that is not there or of other albums, and on whatever `open_prepared` refuses.
    """
    if config.modality != "fusion":
        return open_prepared(data_dir, config.prepared_with)
    kept = read_kept(workdir)
    check_data(kept, workdir, data_dir)
    features = {}
    for name, source in kept.sources.items():
        path = _file_of(workdir, name)
        if not path.exists() or sha256_of(path) != source.sha256:
            raise UserError(f"{path} is not what was kept there; restore it, or train anew in another --workdir")
        features[name] = read_features(path)
    width = sum(source.width for source in kept.sources.values())
    content = [[name, source.fingerprint, source.sha256] for name, source in kept.sources.items()]
    return Fused(
        name=config.fusion.modalities,
        item="album",
        folder=workdir / "features",
        labels=kept.labels,
        mean=np.zeros(width, np.float32),
        std=np.ones(width, np.float32),
        albums_sha256=kept.albums_sha256,
        checksum=hashlib.sha256(json.dumps(content).encode()).hexdigest(),
        sources=kept.sources,
        records=join(features, config.fusion.missing),
    )


def join(features: Mapping[str, Features], missing: str) -> dict[str, list[dict[str, Any]]]:
    """By split, a record of each album that has all modalities, or (`mask`) one: its labels and its fused vector.

    Zeros stand for a vector that an album lacks.  Says how many albums lack one.
    """
    rows = {name: {album_id: row for row, album_id in enumerate(found.album_ids)} for name, found in features.items()}
    about = {
        album_id: (split, np.flatnonzero(labels))
        for found in features.values()
        for album_id, split, labels in zip(found.album_ids, found.splits, found.labels, strict=True)
    }
    records = {}
    for split in SPLITS:
        album_ids = [album_id for album_id, (its_split, _) in about.items() if its_split == split]
        lacking = {name: sum(album_id not in of for album_id in album_ids) for name, of in rows.items()}
        whole = [album_id for album_id in album_ids if all(album_id in of for of in rows.values())]
        if len(whole) < len(album_ids) and is_main():
            said = ", ".join(f"{n} without {name}" for name, n in lacking.items() if n)
            what = "masked: zeros take the vector's place" if missing == "mask" else "dropped"
            n = len(album_ids) - len(whole)
            print(f"{split}: {n} of {len(album_ids)} albums lack a modality ({said}) and are {what}", file=sys.stderr)
        chosen = album_ids if missing == "mask" else whole
        vectors = fuse([_vectors_of(chosen, found, rows[name]) for name, found in features.items()])
        records[split] = [
            {"album_id": album_id, "labels": about[album_id][1], "vector": vector}
            for album_id, vector in zip(chosen, vectors, strict=True)
        ]
    return records


def _vectors_of(album_ids: Sequence[str], found: Features, rows: Mapping[str, int]) -> Float32[np.ndarray, "albums d"]:
    """Zeros where there is none."""
    vectors = np.zeros((len(album_ids), found.vectors.shape[1]), np.float32)
    for at, album_id in enumerate(album_ids):
        if album_id in rows:
            vectors[at] = found.vectors[rows[album_id]]
    return vectors


def fuse(parts: Sequence[Float32[np.ndarray, "albums _"]]) -> Float32[np.ndarray, "albums width"]:
    """Each modality's vectors l2-normalised, side by side; a vector of zeros stays one.  Section 5.4."""
    lengths = [np.linalg.norm(part, axis=1, keepdims=True) for part in parts]
    return np.concatenate(
        [part / np.where(length == 0, 1, length) for part, length in zip(parts, lengths, strict=True)], axis=1
    )


# --- what a run keeps ---------------------------------------------------------------------------------------


def keep(
    workdir: Path,
    data_dir: Path,
    dataset: Dataset,
    runs: Mapping[str, Path],
    features: Mapping[str, Features],
) -> None:
    """Write the vectors of each modality's run, and of which runs and data they are, into `workdir`."""
    sources = {}
    for name, found in features.items():
        path = _file_of(workdir, name)
        write_features(path, found)
        run = runs[name].absolute()
        relative = os.path.relpath(run, workdir.absolute())
        sources[name] = Source(str(run), found.run, found.vectors.shape[1], sha256_of(path), relative)
    kept = Kept(data_dir.absolute(), dataset.albums_sha256, dataset.labels, sources)
    write_json(workdir / FUSION, dataclasses.asdict(kept) | {"data_dir": str(kept.data_dir)})


def read_kept(workdir: Path) -> Kept:
    """What `keep` wrote; raises UserError on anything else."""
    path = workdir / FUSION
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        labels = [Label(**label) for label in found["labels"]]
        sources = {name: Source(**source) for name, source in found["sources"].items()}
        return Kept(Path(found["data_dir"]), found["albums_sha256"], labels, sources)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} is not what a fusion keeps of its runs ({error!r}); restore it, or train anew in another --workdir"
        ) from error


def check_data(kept: Kept, workdir: Path, data_dir: Path) -> None:
    """Raise UserError unless the vectors kept in `workdir` are of the albums of `data_dir`."""
    if data_dir.absolute() == kept.data_dir:  # which may be gone: a fusion needs it no more
        return
    if albums_sha256(read_manifest(data_dir / "manifest.jsonl")) != kept.albums_sha256:
        raise UserError(
            f"{workdir} keeps the feature vectors of {kept.data_dir}, and {data_dir} has other albums, splits or "
            "genres; leave --data_dir (and $MUMU_DATA_DIR) out, or train a fusion on that data in another --workdir"
        )


def _file_of(workdir: Path, name: str) -> Path:
    return workdir / "features" / f"{name}.npz"
