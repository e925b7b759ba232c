"""What is added to finished shards: training statistics, TFDS metadata and, last, `prepared.json`."""

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import tensorflow_datasets as tfds
from etils import epath

import mumu_jax
from mumu_jax.atomic import replacing, write_json
from mumu_jax.config import AudioSettings
from mumu_jax.data import statistics, store
from mumu_jax.data.manifest import SPLITS, Label
from mumu_jax.data.shards import DECODERS, Shard, Sidecar
from mumu_jax.errors import UserError

VERSIONS = {
    **DECODERS,
    "mumu_jax": mumu_jax.__version__,
    "numpy": np.__version__,
    "soundfile": soundfile.__version__,
}


def finish(
    folder: Path,
    shards: Sequence[Shard],
    sidecars: Sequence[Sidecar],
    labels: Sequence[Label],
    settings: AudioSettings,
) -> dict[str, Any]:
    """Make the prepared data complete, unless it is; returns the content of `prepared.json`."""
    description = {
        "settings": dataclasses.asdict(settings),
        "labels": [dataclasses.asdict(label) for label in labels],
        "splits": {split: _describe(split, shards, sidecars) for split in SPLITS},
        "versions": VERSIONS,
    }
    with contextlib.suppress(UserError):
        there = store.read_description(folder)
        store.read_statistics(folder / store.STATISTICS, there["statistics_sha256"])
        if all(there.get(key) == value for key, value in description.items()):
            return there
    (folder / store.DESCRIPTION).unlink(missing_ok=True)
    train = description["splits"]["train"]["shards"]
    mean, std = statistics.of_fixed_patches(store.Records(folder, train, settings.n_bins), settings)
    with replacing(folder / store.STATISTICS) as path, path.open("wb") as file:
        np.savez(file, mean=mean, std=std)
    _write_tfds_metadata(folder, shards, sidecars, labels, settings)
    description["statistics_sha256"] = store.sha256_of_arrays(mean, std)
    description["checksum"] = store.checksum_of(description)
    write_json(folder / store.DESCRIPTION, description)
    return description


def _describe(split: str, shards: Sequence[Shard], sidecars: Sequence[Sidecar]) -> dict[str, Any]:
    pairs = [(shard, sidecar) for shard, sidecar in zip(shards, sidecars, strict=True) if shard.split == split]
    return {
        "albums": len(_albums_with_records(pairs)),
        "tracks": sum(sidecar.records for _, sidecar in pairs),
        "silent": sum(len(sidecar.silent) for _, sidecar in pairs),
        "missing": sum(len(sidecar.missing) for _, sidecar in pairs),
        "rejected": sum(len(sidecar.rejected) for _, sidecar in pairs),
        "seconds": round(sum(sidecar.seconds for _, sidecar in pairs), 3),
        "shards": [
            {"name": shard.name, "records": sidecar.records, "bytes": sidecar.bytes, "sha256": sidecar.sha256}
            for shard, sidecar in pairs
        ],
    }


def _albums_with_records(pairs: Sequence[tuple[Shard, Sidecar]]) -> set[str]:
    albums = set()
    for shard, sidecar in pairs:
        absent = {*sidecar.missing, *(line["track_id"] for line in sidecar.rejected)}
        albums |= {row.album_id for row in shard.rows if row.track_id not in absent}
    return albums


def _write_tfds_metadata(
    folder: Path,
    shards: Sequence[Shard],
    sidecars: Sequence[Sidecar],
    labels: Sequence[Label],
    settings: AudioSettings,
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
        features=store.features(labels, settings.n_bins),
        split_infos=split_infos,
        version="1.0.0",
        check_data=False,  # would need TensorFlow
    )
