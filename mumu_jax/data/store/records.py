"""Prepared data on disk: ArrayRecord shards with one record an item, described by `prepared.json`.

`DATA/<modality>` is also a TFDS folder (`tfds.builder_from_directory` reads it, without TensorFlow): the records are
`tf.train.Example`s with the fields of `features`.  `shards.py` writes it, this file reads it.
"""

import hashlib
import json
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_data_source import ArrayRecordDataSource
from jaxtyping import Float32, Int
from tensorflow_datasets.core.example_parser import tf_example_pb2

from mumu_jax.config import AudioSettings, flatten, from_json
from mumu_jax.data.manifest import SPLITS, Album, Label, albums_sha256, read_manifest
from mumu_jax.data.modalities import modality_of
from mumu_jax.data.modalities.audio.cqt import form_made_with
from mumu_jax.data.modalities.base import PreparedModality
from mumu_jax.data.store.wire import read_example
from mumu_jax.errors import UserError

Example: Any = vars(tf_example_pb2)["Example"]  # made at import time, which type checkers do not see

DESCRIPTION = "prepared.json"
STATISTICS = "statistics.npz"
VERIFY_BYTES = 1_000_000_000  # up to here checksums are checked on opening, which takes two seconds at most


@dataclass(frozen=True)
class Dataset(ABC):
    """What a network is trained and scored on, wherever it lies.

    `item` is what a record is of, track or album.  `mean` and `std` standardise each position of an input, as the train
    split has them (of images, as ImageNet has them; 0 and 1 where inputs are not standardised).  `albums_sha256` is of
    the manifest that it was made from.  `checksum` names the content: settings, labels, records and statistics.
    """

    name: str
    item: str
    folder: Path
    labels: list[Label]
    mean: Float32[np.ndarray, "*shape"]
    std: Float32[np.ndarray, "*shape"]
    albums_sha256: str
    checksum: str

    @abstractmethod
    def split(self, name: str) -> "Records":
        """The records of `train`, `val` or `test`, in the manifest's order; none where the split is empty."""


@dataclass(frozen=True)
class Prepared(Dataset):
    """Prepared data, opened and found to fit."""

    modality: PreparedModality
    settings: Any
    shards: dict[str, list[dict[str, Any]]]  # of each split: name, records, bytes, sha256

    def split(self, name: str) -> "Records":
        return ShardRecords(self.folder, self.shards[name], self.modality, self.settings)


class Records(Sequence):  # of dicts; said in the hint, run-time type checkers would read a record to see it
    """Random access to records, from any thread.

    A record is `{"album_id": str, "labels": int64 columns}`, `"track_id": str` for items that are tracks, and its own
    fields, such as `"cqt": float16 [frames, bins] dB`.
    """

    _ids: Any  # (album_id, item_id) of each record

    @property
    def album_ids(self) -> list[str]:
        return [album_id for album_id, _ in self._ids]

    @property
    def item_ids(self) -> list[str]:
        return [item_id for _, item_id in self._ids]

    def __getitem__(self, index: Any) -> dict[str, Any]:
        """Record `index`; raises IndexError outside 0 … len - 1, and UserError where the shard is damaged."""
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        return next(self.read([index]))

    @abstractmethod
    def read(self, rows: Sequence[int] | Int[np.ndarray, " n"]) -> Iterator[dict[str, Any]]:
        """The records `rows`, one after the other; raises UserError where a shard is damaged."""


class HeldRecords(Records):
    """Records of albums that are held in memory."""

    def __init__(self, records: list[dict[str, Any]]):
        self._records, self._ids = records, [(record["album_id"], record["album_id"]) for record in records]

    def __len__(self) -> int:
        return len(self._records)

    def read(self, rows: Sequence[int] | Int[np.ndarray, " n"]) -> Iterator[dict[str, Any]]:
        return (self._records[index] for index in rows)


class ShardRecords(Records):
    """Records on disk, which are not held."""

    def __init__(self, folder: Path, shards: Sequence[dict[str, Any]], modality: PreparedModality, settings: Any):
        self._folder, self._modality, self._settings = folder, modality, settings
        self._shards = [shard for shard in shards if shard["records"]]
        self._ends = np.cumsum([shard["records"] for shard in self._shards], dtype=int)
        files = [f"{folder / shard['name']}[0:{shard['records']}]" for shard in self._shards]
        self._source: Any = ArrayRecordDataSource(files) if files else None

    @cached_property
    def _ids(self) -> list[tuple[str, str]]:
        """Of each record, from the sidecars: the records themselves are gigabytes."""
        ids = []
        for shard in self._shards:
            path = self._folder / sidecar_of(shard["name"])
            try:
                found = [(album_id, item_id) for album_id, item_id in json.loads(path.read_bytes())["ids"]]
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise _damaged(path, str(error)) from error
            if len(found) != shard["records"]:
                raise _damaged(path, f"it names {len(found)} records instead of {shard['records']}")
            ids += found
        return ids

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def read(self, rows: Sequence[int] | Int[np.ndarray, " n"]) -> Iterator[dict[str, Any]]:
        for index in map(int, rows):
            try:
                yield decode(self._source[index], self._modality, self._settings)
            except Exception as error:  # of many kinds: riegeli's checksums, missing fields, shapes
                shard = self._shards[int(np.searchsorted(self._ends, index, side="right"))]
                raise _damaged(self._folder / shard["name"], f"record {index} cannot be read") from error


def sidecar_of(name: str) -> str:
    """Where, beside a shard, lies what is known of it."""
    return f"sidecars/{name}.json"


def features(labels: Sequence[Label], modality: PreparedModality, settings: Any) -> tfds.features.FeaturesDict:
    """The TFDS features of a record."""
    names = tfds.features.ClassLabel(names=[label.name for label in labels])
    ids = {name: tfds.features.Text() for name in _id_fields(modality)}
    return tfds.features.FeaturesDict({**ids, "labels": tfds.features.Sequence(names), **modality.features(settings)})


def encode(
    album_id: str,
    item_id: str,
    labels: Sequence[int],
    fields: Mapping[str, Any],
    modality: PreparedModality,
    settings: Any,
) -> bytes:
    """A record, as `features.serialize_example` gives it but for the order of the fields: always the same bytes."""
    example = Example()
    stored = example.features.feature
    for name, value in zip(_id_fields(modality), (album_id, item_id), strict=False):
        stored[name].bytes_list.value.append(value.encode(errors="surrogatepass"))
    stored["labels"].int64_list.SetInParent()  # there, though there may be none
    stored["labels"].int64_list.value.extend(labels)
    for name, values in modality.encode(fields, settings).items():
        stored[name].bytes_list.SetInParent()
        stored[name].bytes_list.value.extend(values)
    return example.SerializeToString(deterministic=True)


def decode(record: bytes, modality: PreparedModality, settings: Any) -> dict[str, Any]:
    """What `encode` was given; `features.deserialize_example_np` gives the same at a tenth of the speed."""
    stored: Any = read_example(memoryview(record))
    return {
        **{name: bytes(stored[name][0]).decode(errors="surrogatepass") for name in _id_fields(modality)},
        "labels": np.array(stored["labels"], np.int64),
        **modality.decode(stored, settings),
    }


def _id_fields(modality: PreparedModality) -> tuple[str, ...]:
    return ("album_id", "track_id") if modality.item == "track" else ("album_id",)


def open_prepared(data_dir: Path, settings: Any, verify: bool | None = None) -> Prepared:
    """The prepared data in `data_dir` of these settings' modality, if it is finished, whole, and made with them.

    Sizes are always checked, checksums of the shards where `verify` says so, or (None) where all shards
    together have at most VERIFY_BYTES.  Raises UserError on whatever is not as it should be.
    """
    modality = modality_of(settings)
    folder = data_dir / modality.name
    description = read_description(folder)
    _check_settings(modality, folder, _stored_settings(modality, folder, description), settings)
    shards = {split: description["splits"][split]["shards"] for split in SPLITS}
    every = [shard for split in SPLITS for shard in shards[split]]
    if verify is None:
        verify = sum(shard["bytes"] for shard in every) <= VERIFY_BYTES
    for shard in every:
        check_shard(folder / shard["name"], shard, verify)
    mean, std = read_statistics(folder / STATISTICS, description["statistics_sha256"])
    return Prepared(
        name=modality.name,
        item=modality.item,
        modality=modality,
        folder=folder,
        labels=[Label(**label) for label in description["labels"]],
        settings=settings,
        mean=mean,
        std=std,
        albums_sha256=description.get("albums_sha256", ""),
        checksum=description["checksum"],
        shards=shards,
    )


def read_albums(dataset: Dataset, data_dir: Path) -> list[Album]:
    """The albums of the manifest in `data_dir`.  Raises UserError where `dataset` was not made from these."""
    albums = read_manifest(data_dir / "manifest.jsonl")
    if albums_sha256(albums) != dataset.albums_sha256:
        raise UserError(
            f"{dataset.folder} was prepared with other albums, splits or genres than {data_dir / 'manifest.jsonl'} "
            f"has; call prepare again, with {dataset.name} among its --modalities"
        )
    return albums


def read_description(folder: Path) -> dict[str, Any]:
    """`prepared.json`; raises UserError where it is missing or damaged."""
    path = folder / DESCRIPTION
    try:
        description = json.loads(path.read_bytes())
        if not isinstance(description, dict):
            raise ValueError("it holds no object")
        if checksum_of(description) != description["checksum"]:
            raise ValueError("its checksum does not fit")
    except FileNotFoundError as error:
        state = "is not finished" if folder.is_dir() else "is not there"
        raise UserError(f"the prepared {folder.name} {folder} {state}; {_prepare(folder)}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path, str(error)) from error
    return description


def checksum_of(description: dict[str, Any]) -> str:
    """SHA-256 of what a network can see of the data: settings, labels, records, statistics."""
    shards = [[shard["sha256"] for shard in description["splits"][split]["shards"]] for split in SPLITS]
    seen = [description["settings"], description["labels"], shards, description["statistics_sha256"]]
    return hashlib.sha256(json.dumps(seen, sort_keys=True).encode()).hexdigest()


def check_shard(path: Path, expected: dict[str, Any], verify: bool) -> None:
    """Raise UserError unless the file is there, of the expected size and (`verify`) the expected checksum."""
    try:
        n_bytes = path.stat().st_size
        if n_bytes != expected["bytes"]:
            raise _damaged(path, f"it has {n_bytes} bytes instead of {expected['bytes']}")
        if verify and sha256_of(path) != expected["sha256"]:
            raise _damaged(path, "its checksum differs from the one it was written with")
    except OSError as error:
        raise _damaged(path, error.strerror or str(error)) from error


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_statistics(path: Path, sha256: str) -> tuple[np.ndarray, np.ndarray]:
    """(mean, std); raises UserError where the file is missing or not the one with this checksum."""
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            mean, std = arrays["mean"], arrays["std"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise _damaged(path, str(error)) from error
    if sha256_of_arrays(mean, std) != sha256:
        raise _damaged(path, "its checksum differs from the one it was written with")
    return mean, std


def sha256_of_arrays(*arrays: np.ndarray) -> str:
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


def _stored_settings(modality: PreparedModality, folder: Path, description: dict[str, Any]) -> Any:
    settings = from_json(modality.settings, description["settings"], str(folder))
    if isinstance(settings, AudioSettings) and "cqt" not in description["settings"]:  # data from before the setting
        settings.cqt = form_made_with(description["versions"].get("librosa", "0."), settings)
    return settings


def _check_settings(modality: PreparedModality, folder: Path, found: Any, wanted: Any) -> None:
    there, asked = flatten(found), flatten(wanted)
    different = [
        f"{name} is {there[name]} there and {asked[name]} here" for name in asked if there[name] != asked[name]
    ]
    if different:
        raise UserError(
            f"{folder} was prepared with other settings than this experiment's: {', '.join(different)}; "
            "leave them as they are there, or prepare the data with yours "
            f"(mumu_jax.prepare --{modality.name}.FIELD=VALUE)"
        )


def _damaged(path: Path, what: str) -> UserError:
    return UserError(f"{path} is damaged: {what}; {_prepare(path.parent)} again, which makes it anew")


def _prepare(folder: Path) -> str:
    return f"run python -m mumu_jax.prepare --source=… --input=… --data_dir={folder.parent}"
