"""Prepared data on disk: ArrayRecord shards with one record an item, described by `prepared.json`.

`DATA/<modality>` is also a TFDS folder (`tfds.builder_from_directory` reads it, without TensorFlow): the records are
`tf.train.Example`s with the fields of `features`.  `shards.py` writes it, this file reads it.
"""

import contextlib
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_data_source import ArrayRecordDataSource
from jaxtyping import Float32, Int
from msgspec import Struct
from tensorflow_datasets.core.example_parser import tf_example_pb2

from mumu_jax.config import AudioSettings
from mumu_jax.data.manifest import SPLITS, Album, Label, albums_sha256, read_manifest
from mumu_jax.data.modalities import modality_of
from mumu_jax.data.modalities.audio.cqt import form_made_with
from mumu_jax.data.modalities.base import PreparedModality
from mumu_jax.data.modalities.text import GAZETTEER
from mumu_jax.errors import UserError, reason_of
from mumu_jax.fields import flatten, from_json
from mumu_jax.system.files import check_line_of_utf8, read_npz, sha256_of
from mumu_jax.system.seals import check_seal

Example: Any = vars(tf_example_pb2)["Example"]  # made at import time, which type checkers do not see

DESCRIPTION = "prepared.json"
STATISTICS = "statistics.npz"
TFDS = ("dataset_info.json", "features.json", "labels.labels.txt")
SEALED = (DESCRIPTION, STATISTICS, GAZETTEER, *TFDS, "sidecars")  # the shards' checksums are in `prepared.json`
VERIFY_BYTES = 1_000_000_000  # up to here checksums are checked on opening, which takes two seconds at most

T = TypeVar("T")


# --- the files' contents ------------------------------------------------------------------------------------


class ShardFile(Struct, frozen=True):
    """A shard's file, as `prepared.json` lists it."""

    name: str
    records: int
    bytes: int
    sha256: str


class Description(Struct, frozen=True, kw_only=True):
    """The content of `prepared.json`; `splits` has by split counts of several kinds, and its `shards`."""

    albums_sha256: str = ""
    settings: dict[str, Any]
    labels: list[Label]
    splits: dict[str, dict[str, Any]]
    versions: dict[str, str]
    statistics_sha256: str = ""
    checksum: str = ""

    def shards(self, split: str) -> list[ShardFile]:
        return msgspec.convert(self.splits[split]["shards"], list[ShardFile])


class Made(Struct, array_like=True):
    """The origin of a record: what stands for its settings, versions and file ("" if it cannot be copied); its counts.

    The counts are in the order of the modality's `counts`.
    """

    state: str
    counts: list[int | float]


class Sidecar(Struct):
    """The facts about a finished shard, stored beside it.

    `fingerprint` stands for all that went into it: rows, files, settings, versions.  `ids` are (album, item) of each
    record, `made` the origin of each, `likeness` that of each if the modality has one.  `counts` are sums over the
    records.  `missing` are item ids, `rejected` lines of `rejected.jsonl`.
    """

    fingerprint: str
    sha256: str = ""
    bytes: int = 0
    records: int = 0
    ids: list[tuple[str, str]] = []
    made: list[Made] = []
    likeness: list[str] = []
    counts: dict[str, int | float] = {}  # an integer stays one
    missing: list[str] = []
    rejected: list[dict[str, str]] = []


# --- data sets and their records ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Dataset(ABC):
    """The labelled records that a network is trained and scored on.

    A record describes one `item`, a track or an album.  `mean` and `std` standardise each position of an input: they
    are those of the training split, those of ImageNet for images, and 0 and 1 for inputs that are not standardised.
    `albums_sha256` is the checksum of the manifest's albums, `checksum` that of settings, labels, records, statistics.
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
        """Return the records of `train`, `val` or `test` in the manifest's order; an empty split has none."""


@dataclass(frozen=True)
class Prepared(Dataset):
    """Prepared data on disk whose files and settings were checked."""

    modality: PreparedModality
    settings: Any
    shards: dict[str, list[ShardFile]]  # by split

    def split(self, name: str) -> "Records":
        return ShardRecords(self.folder, self.shards[name], self.modality, self.settings)


class Records(Sequence):  # of dicts; a run-time type checker would read a record to check that hint
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
        """Return a record; raises IndexError outside 0 … len - 1, and UserError if its shard is damaged."""
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        return next(self.read([index]))

    @abstractmethod
    def read(self, rows: Sequence[int] | Int[np.ndarray, " n"]) -> Iterator[dict[str, Any]]:
        """Yield the records `rows` one after the other; raises UserError if a shard is damaged."""


class HeldRecords(Records):
    """Records of albums in memory."""

    def __init__(self, records: list[dict[str, Any]]):
        self._records = records
        self._ids = [(record["album_id"], record["album_id"]) for record in records]

    def __len__(self) -> int:
        return len(self._records)

    def read(self, rows: Sequence[int] | Int[np.ndarray, " n"]) -> Iterator[dict[str, Any]]:
        return (self._records[index] for index in rows)


class ShardRecords(Records):
    """Records on disk."""

    def __init__(self, folder: Path, shards: Sequence[ShardFile], modality: PreparedModality, settings: Any):
        self._folder, self._modality, self._settings = folder, modality, settings
        self._shards = [shard for shard in shards if shard.records]
        self._ends = np.cumsum([shard.records for shard in self._shards], dtype=int)
        files = [f"{folder / shard.name}[0:{shard.records}]" for shard in self._shards]
        self._source: Any = ArrayRecordDataSource(files) if files else None

    @cached_property
    def _ids(self) -> list[tuple[str, str]]:
        """Read the ids from the sidecars: the records themselves are gigabytes."""
        ids = []
        for shard in self._shards:
            path = self._folder / sidecar_of(shard.name)
            with _whole(path):
                ids_of_shard = read_as(Sidecar, path).ids
                if len(ids_of_shard) != shard.records:
                    raise ValueError(f"it names {len(ids_of_shard)} records instead of {shard.records}")
            ids += ids_of_shard
        return ids

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    @property
    def n_bytes(self) -> int:
        """The size of the records, which are not compressed: that of their fields, and little more."""
        return sum(shard.bytes for shard in self._shards)

    def read(self, rows: Sequence[int] | Int[np.ndarray, " n"]) -> Iterator[dict[str, Any]]:
        for index in map(int, rows):
            try:
                yield decode(self._source[index], self._modality, self._settings)
            except Exception as error:  # of many kinds: riegeli's checksums, missing fields, shapes
                shard = self._shards[int(np.searchsorted(self._ends, index, side="right"))]
                what = f"record {index} cannot be read ({reason_of(error)})"
                raise _damaged(self._folder / shard.name, what) from error


def sidecar_of(name: str) -> str:
    """Return the path of a shard's sidecar below the modality's folder."""
    return f"sidecars/{name}.json"


# --- one record ---------------------------------------------------------------------------------------------


def features(labels: Sequence[Label], modality: PreparedModality, settings: Any) -> tfds.features.FeaturesDict:
    """Return the TFDS features of a record."""
    names = tfds.features.ClassLabel(names=[label.name for label in labels])
    ids = {name: tfds.features.Text() for name in _id_fields(modality)}
    own = {name: one.feature(tfds) for name, one in modality.fields(settings).items()}
    return tfds.features.FeaturesDict({**ids, "labels": tfds.features.Sequence(names), **own})


def encode(
    album_id: str,
    item_id: str,
    labels: Sequence[int],
    fields: Mapping[str, Any],
    modality: PreparedModality,
    settings: Any,
) -> bytes:
    """Return a record as `features.serialize_example` does, except that the same fields always give the same bytes."""
    example = Example()
    stored = example.features.feature
    for name, value in zip(_id_fields(modality), (album_id, item_id), strict=False):
        stored[name].bytes_list.value.append(value.encode(errors="surrogatepass"))
    stored["labels"].int64_list.SetInParent()  # stored even if there are none
    stored["labels"].int64_list.value.extend(labels)
    for name, values in modality.encode(fields, settings).items():
        stored[name].bytes_list.SetInParent()
        stored[name].bytes_list.value.extend(values)
    return example.SerializeToString(deterministic=True)


def decode(record: bytes, modality: PreparedModality, settings: Any) -> dict[str, Any]:
    """Return the fields that `encode` was given; `features.deserialize_example_np` takes ten times as long."""
    features = Example.FromString(record).features.feature
    stored = {name: list(one.bytes_list.value or one.int64_list.value) for name, one in features.items()}
    return {
        **{name: stored[name][0].decode(errors="surrogatepass") for name in _id_fields(modality)},
        "labels": np.array(stored["labels"], np.int64),
        **modality.decode(stored, settings),
    }


def _id_fields(modality: PreparedModality) -> tuple[str, ...]:
    return ("album_id", "track_id") if modality.item == "track" else ("album_id",)


# --- opening ------------------------------------------------------------------------------------------------


def open_prepared(data_dir: Path, settings: Any, verify: bool | None = None) -> Prepared:
    """Open the prepared data of these settings' modality; raises UserError unless it is whole and made with them.

    The shards' sizes are always checked.  Their checksums are checked if `verify` is true, or if it is None and all
    shards together have at most VERIFY_BYTES.
    """
    modality = modality_of(settings)
    folder = data_dir / modality.name
    description = read_description(folder)
    _check_settings(modality, folder, description, settings)
    shards = {split: description.shards(split) for split in SPLITS}
    files = [shard for split in SPLITS for shard in shards[split]]
    if verify is None:
        verify = sum(shard.bytes for shard in files) <= VERIFY_BYTES
    for shard in files:
        check_shard(folder / shard.name, shard, verify)
    mean, std = read_statistics(folder / STATISTICS, description.statistics_sha256)
    check_seal(folder, f"{_prepare(folder)} again, which replaces it")
    return Prepared(
        name=modality.name,
        item=modality.item,
        modality=modality,
        folder=folder,
        labels=description.labels,
        settings=settings,
        mean=mean,
        std=std,
        albums_sha256=description.albums_sha256,
        checksum=description.checksum,
        shards=shards,
    )


def read_albums(dataset: Dataset, data_dir: Path) -> list[Album]:
    """Return the albums of the manifest in `data_dir`; raises UserError unless `dataset` was made from these."""
    albums = read_manifest(data_dir / "manifest.jsonl")
    if albums_sha256(albums) != dataset.albums_sha256:
        raise UserError(
            f"{dataset.folder} was prepared with other albums, splits or genres than {data_dir / 'manifest.jsonl'} "
            f"has; run prepare again, with {dataset.name} among its --modalities"
        )
    return albums


def read_description(folder: Path) -> Description:
    """Read `prepared.json`; raises UserError if it is missing or damaged."""
    check_line_of_utf8(folder)
    path = folder / DESCRIPTION
    with _whole(path):
        if not path.exists():
            state = "is not finished" if folder.is_dir() else "does not exist"
            raise UserError(f"the prepared {folder.name} {folder} {state}; {_prepare(folder)}")
        description = read_as(Description, path)
        if checksum_of(description) != description.checksum:
            raise ValueError("its content does not match its checksum")
    return description


def read_as(kind: type[T], path: Path) -> T:
    """Read JSON of this type; raises OSError, or ValueError, which says what is wrong where."""
    try:  # msgspec's own JSON refuses the lone surrogates of file names that are not UTF-8
        return msgspec.convert(json.loads(path.read_bytes()), kind)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error


def checksum_of(description: Description) -> str:
    """Return the SHA-256 of all that a network sees of the data: settings, labels, records, statistics."""
    shards = [[shard.sha256 for shard in description.shards(split)] for split in SPLITS]
    labels = msgspec.to_builtins(description.labels)
    return digest([description.settings, labels, shards, description.statistics_sha256])


def digest(value: Any) -> str:
    """Return the SHA-256 of a value, as JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def check_shard(path: Path, expected: ShardFile | Sidecar, verify: bool) -> None:
    """Raise UserError unless the file has the expected size and, if `verify`, the expected checksum."""
    with _whole(path):
        n_bytes = path.stat().st_size
        if n_bytes != expected.bytes:
            raise ValueError(f"it has {n_bytes} bytes instead of {expected.bytes}")
        if verify and sha256_of(path) != expected.sha256:
            raise ValueError("its checksum differs from the one it was written with")


def read_statistics(path: Path, sha256: str) -> tuple[np.ndarray, np.ndarray]:
    """Read (mean, std); raises UserError if the file is missing or has another checksum."""
    arrays = read_npz(path, f"{_prepare(path.parent)} again, which replaces it")
    with _whole(path):
        if sha256_of_arrays(arrays["mean"], arrays["std"]) != sha256:
            raise ValueError("its checksum differs from the one it was written with")
    return arrays["mean"], arrays["std"]


def sha256_of_arrays(*arrays: np.ndarray) -> str:
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


def _check_settings(modality: PreparedModality, folder: Path, description: Description, settings: Any) -> None:
    """Raise UserError if the data was prepared with other settings."""
    made_with = from_json(modality.settings, description.settings, str(folder))
    if isinstance(made_with, AudioSettings) and "cqt" not in description.settings:  # data from before the setting
        made_with.cqt = form_made_with(description.versions.get("librosa", "0."), made_with)
    stored, wanted = flatten(made_with), flatten(settings)
    differences = [
        f"{name} is {stored[name]} there and {wanted[name]} here"
        for name in wanted
        if stored[name] != wanted[name] and name not in modality.free_settings
    ]
    if differences:
        raise UserError(
            f"{folder} was prepared with other settings than this experiment's: {', '.join(differences)}; "
            "leave them as they are there, or prepare the data with yours "
            f"(mumu_jax.prepare --{modality.name}.FIELD=VALUE)"
        )


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[None]:
    """Turn the errors of reading `path` into a UserError, which says what is wrong with it."""
    try:
        yield
    except OSError as error:
        raise _damaged(path, error.strerror or str(error)) from error
    except (ValueError, KeyError) as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, what: str) -> UserError:
    return UserError(f"{path} is damaged: {what}; {_prepare(path.parent)} again, which replaces it")


def _prepare(folder: Path) -> str:
    command = f"run python -m mumu_jax.prepare --source=… --input=… --data_dir={folder.parent}"
    return f"{command} --modalities={folder.name}"
