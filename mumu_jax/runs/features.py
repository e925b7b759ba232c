"""The feature vectors of a run's albums as a file: `.npz` or `.arrayrecord`.

`.npz` holds the fields of `Features` as arrays.  `.arrayrecord` holds `tf.train.Example`s of byte strings: the first
one `label_names`, `run` and `width`, each other an album: `album_id`, `split`, `labels` (uint8, multi-hot) and `vector`
(float32).
"""

import dataclasses
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from array_record.python.array_record_data_source import ArrayRecordDataSource
from array_record.python.array_record_module import ArrayRecordWriter
from jaxtyping import Float32, UInt8

from mumu_jax.data.store.records import Example, read_example
from mumu_jax.errors import UserError
from mumu_jax.system.files import replacing


@dataclass(frozen=True)
class Features:
    """Of the albums of all splits, those of one split side by side; `run` is the fingerprint of the run they are of.

    A vector is what the album network sees: the mean over the album's tracks, or the penultimate vector of its text,
    cover or fusion.
    """

    album_ids: list[str]
    splits: list[str]
    labels: UInt8[np.ndarray, "albums labels"]
    vectors: Float32[np.ndarray, "albums d"]
    label_names: list[str]
    run: str


def check_format(path: Path) -> None:
    """Raise UserError on a file that `write_features` does not write."""
    if path.suffix not in FORMATS:
        suffix, known = path.suffix or "nothing", " or ".join(FORMATS)
        raise UserError(f"--features={path} ends in {suffix!r}; give a file that ends in {known}")


def write_features(path: Path, features: Features) -> None:
    """Whole or not at all, in the format that the name ends in; the same features give the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        FORMATS[path.suffix][0](temporary, features)


def read_features(path: Path) -> Features:
    """What `write_features` wrote.  Raises UserError on anything else."""
    check_format(path)
    try:
        return FORMATS[path.suffix][1](path)
    except (OSError, ValueError, KeyError, TypeError, IndexError, RuntimeError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is not a file of features ({error!r}); write it anew (mumu_jax.evaluate)") from error


def _write_npz(path: Path, features: Features) -> None:
    with path.open("wb") as file:
        np.savez(file, **{f.name: getattr(features, f.name) for f in dataclasses.fields(features)})


def _read_npz(path: Path) -> Features:
    with path.open("rb") as file, np.load(file) as arrays:
        lists = {name: arrays[name].tolist() for name in ("album_ids", "splits", "label_names", "run")}
        return Features(labels=arrays["labels"], vectors=arrays["vectors"], **lists)


def _write_arrayrecord(path: Path, features: Features) -> None:
    writer = ArrayRecordWriter(str(path), "group_size:1")
    width = str(features.vectors.shape[1])
    writer.write(_encode({"label_names": features.label_names, "run": [features.run], "width": [width]}))
    arrays = (features.labels, features.vectors)
    for album_id, split, labels, vector in zip(features.album_ids, features.splits, *arrays, strict=True):
        fields = {"album_id": [album_id], "split": [split], "labels": [labels.tobytes()], "vector": [vector.tobytes()]}
        writer.write(_encode(fields))
    writer.close()


def _read_arrayrecord(path: Path) -> Features:
    source = ArrayRecordDataSource(str(path))
    about, *albums = (read_example(source[i]) for i in range(len(source)))
    names, [run], [width] = ([bytes(value).decode() for value in about[key]] for key in ("label_names", "run", "width"))
    ids, splits = ([bytes(album[key][0]).decode(*_IDS) for album in albums] for key in ("album_id", "split"))
    labels, vectors = (b"".join(album[key][0] for album in albums) for key in ("labels", "vector"))
    return Features(
        ids,
        splits,
        np.frombuffer(labels, np.uint8).reshape(len(albums), len(names)),
        np.frombuffer(vectors, np.float32).reshape(len(albums), int(width)),
        names,
        run,
    )


_IDS = ("utf-8", "surrogatepass")  # ids may come from file names that are not UTF-8


def _encode(fields: Mapping[str, Sequence[str | bytes]]) -> bytes:
    example = Example()
    for name, values in fields.items():
        encoded = [value.encode(*_IDS) if isinstance(value, str) else value for value in values]
        example.features.feature[name].bytes_list.value.extend(encoded)
    return example.SerializeToString(deterministic=True)


FORMATS = {".npz": (_write_npz, _read_npz), ".arrayrecord": (_write_arrayrecord, _read_arrayrecord)}
