"""What is added to finished shards: training statistics, TFDS metadata and, last, `prepared.json`."""

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

import mumu_jax
from mumu_jax.data.manifest import SPLITS, Album, Label, albums_sha256
from mumu_jax.data.modalities.base import PreparedModality
from mumu_jax.data.store import records
from mumu_jax.data.store.shards import Shard, Sidecar
from mumu_jax.errors import UserError
from mumu_jax.system.files import replacing, write_json

VERSIONS = {"mumu_jax": mumu_jax.__version__, "numpy": np.__version__}


def finish(
    folder: Path,
    shards: Sequence[Shard],
    sidecars: Sequence[Sidecar],
    albums: Sequence[Album],
    labels: Sequence[Label],
    modality: PreparedModality,
    settings: Any,
) -> dict[str, Any]:
    """Make the prepared data complete, unless it is; returns the content of `prepared.json`."""
    description = {
        "albums_sha256": albums_sha256(albums),
        "settings": dataclasses.asdict(settings),
        "labels": [dataclasses.asdict(label) for label in labels],
        "splits": {split: _describe(split, shards, sidecars, modality) for split in SPLITS},
        "versions": {**modality.versions, **VERSIONS},
    }
    with contextlib.suppress(UserError):
        there = records.read_description(folder)
        records.read_statistics(folder / records.STATISTICS, there["statistics_sha256"])
        if all(there.get(key) == value for key, value in description.items()):
            return there
    (folder / records.DESCRIPTION).unlink(missing_ok=True)
    train = description["splits"]["train"]["shards"]
    mean, std = modality.statistics(records.ShardRecords(folder, train, modality, settings), settings)
    with replacing(folder / records.STATISTICS) as path, path.open("wb") as file:
        np.savez(file, mean=mean, std=std)
    _write_tfds_metadata(folder, shards, sidecars, records.features(labels, modality, settings))
    description["statistics_sha256"] = records.sha256_of_arrays(mean, std)
    description["checksum"] = records.checksum_of(description)
    write_json(folder / records.DESCRIPTION, description)
    return description


def _describe(
    split: str, shards: Sequence[Shard], sidecars: Sequence[Sidecar], modality: PreparedModality
) -> dict[str, Any]:
    pairs = [(shard, sidecar) for shard, sidecar in zip(shards, sidecars, strict=True) if shard.split == split]
    return {
        "albums": len({album_id for _, sidecar in pairs for album_id, _ in sidecar.ids}),
        "records": sum(sidecar.records for _, sidecar in pairs),
        "missing": sum(len(sidecar.missing) for _, sidecar in pairs),
        "rejected": sum(len(sidecar.rejected) for _, sidecar in pairs),
        **{name: round(sum(sidecar.counts[name] for _, sidecar in pairs), 3) for name in modality.counts},
        "shards": [
            {"name": shard.name, "records": sidecar.records, "bytes": sidecar.bytes, "sha256": sidecar.sha256}
            for shard, sidecar in pairs
        ],
    }


def _write_tfds_metadata(
    folder: Path,
    shards: Sequence[Shard],
    sidecars: Sequence[Sidecar],
    features: tfds.features.FeaturesDict,
) -> None:
    pairs = list(zip(shards, sidecars, strict=True))
    split_infos = [
        tfds.core.SplitInfo(
            name=split,
            shard_lengths=[sidecar.records for shard, sidecar in pairs if shard.split == split],
            num_bytes=sum(sidecar.bytes for shard, sidecar in pairs if shard.split == split),
            filename_template=tfds.core.ShardedFileTemplate(
                dataset_name="mumu", data_dir=epath.Path(folder), split=split, filetype_suffix="array_record"
            ),
        )
        for split in SPLITS
        if any(shard.split == split for shard in shards)  # TFDS knows no split without files
    ]
    tfds.folder_dataset.write_metadata(
        data_dir=folder,
        features=features,
        split_infos=split_infos,
        version="1.0.0",
        check_data=False,  # would need TensorFlow
    )
