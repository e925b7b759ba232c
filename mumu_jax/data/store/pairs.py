"""Several modalities' prepared data as one data set: each item with its album's records of the other modalities."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from mumu_jax.config import Config
from mumu_jax.data.manifest import SPLITS
from mumu_jax.data.modalities import MODALITIES
from mumu_jax.data.store.records import Dataset, Prepared, Records, open_prepared
from mumu_jax.errors import UserError
from mumu_jax.system.lines import print_remark
from mumu_jax.system.processes import is_main


class PairedRecords(Records):
    """The records of one modality, each with its counterparts in the others.

    `parts` holds by modality the records and the row of each item: the modality in the first place gives the order.
    """

    def __init__(self, parts: Mapping[str, tuple[Records, Int[np.ndarray, " items"]]]):
        self.parts = dict(parts)
        records, rows = next(iter(self.parts.values()))
        album_ids, item_ids = records.album_ids, records.item_ids
        self._ids = [(album_ids[row], item_ids[row]) for row in rows]

    def __len__(self) -> int:
        return len(self._ids)

    def read(self, rows: Sequence[int] | Int[np.ndarray, " n"]) -> Iterator[dict[str, Any]]:
        """Yield an item's fields of all modalities in one dict."""
        for row in rows:
            fields: dict[str, Any] = {}
            for records, own_rows in reversed(self.parts.values()):
                fields |= next(iter(records.read([int(own_rows[row])])))
            yield fields


@dataclass(frozen=True)
class Paired(Dataset):
    """The prepared data of several modalities, opened together; those of tracks come first."""

    parts: dict[str, Prepared]

    def split(self, name: str) -> PairedRecords:
        """Return the items of a split that every modality has, in the first one's order."""
        splits = {modality: part.split(name) for modality, part in self.parts.items()}
        rows_of = {modality: self._rows_by_id(modality, records) for modality, records in splits.items()}
        first = next(iter(splits.values()))
        rows = []
        for album_id, item_id in zip(first.album_ids, first.item_ids, strict=True):
            ids = {"album": album_id, self.item: item_id}
            rows.append([rows_of[modality].get(ids[part.item]) for modality, part in self.parts.items()])
        whole = np.array([row for row in rows if None not in row], np.int32).reshape(-1, len(splits))
        return PairedRecords({modality: (splits[modality], whole[:, i]) for i, modality in enumerate(splits)})

    def _rows_by_id(self, modality: str, records: Records) -> dict[str, int]:
        """Return the row of each track, or of each album, by its id."""
        ids = records.item_ids if self.parts[modality].item == "track" else records.album_ids
        return {key: row for row, key in enumerate(ids)}


def parts_of(dataset: Dataset, config: Config) -> Mapping[str, Dataset]:
    """Return the data of each modality that the network sees."""
    return dataset.parts if isinstance(dataset, Paired) else {config.modality: dataset}


def open_dataset(config: Config, data_dir: Path) -> Dataset:
    """Open the prepared data that the experiment sees; raises UserError on whatever is not as it should be."""
    names = sorted(config.inputs, key=lambda name: MODALITIES[name].item != "track")  # the finest items first
    parts = {name: open_prepared(data_dir, getattr(config, name)) for name in names}
    if len(parts) == 1:
        return parts[config.modality]
    first, *others = parts.values()
    for other in others:
        if other.labels != first.labels or other.albums_sha256 != first.albums_sha256:
            raise UserError(
                f"{first.folder} and {other.folder} were prepared from other albums, splits or genres than one "
                "another; call prepare again, for both"
            )
    dataset = Paired(
        name=config.modality,
        item=first.item,
        folder=data_dir,
        labels=first.labels,
        mean=np.zeros((), np.float32),
        std=np.ones((), np.float32),
        albums_sha256=first.albums_sha256,
        checksum=hashlib.sha256("".join(part.checksum for part in parts.values()).encode()).hexdigest(),
        parts=parts,
    )
    _say_what_is_left_out(dataset)
    return dataset


def _say_what_is_left_out(dataset: Paired) -> None:
    first = next(iter(dataset.parts.values()))
    for split in SPLITS:
        n_before, n = len(first.split(split)), len(dataset.split(split))
        if n < n_before and is_main():
            said = f"{split}: {n_before - n} of {n_before} {first.item}s do not have all of {', '.join(dataset.parts)}"
            print_remark(f"{said} and are left out")
