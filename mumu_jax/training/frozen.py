"""Parameters that do not train: kept once beside a network's checkpoints, which leave them out.

So are the running statistics of layers whose scale does not train.
"""

from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from mumu_jax.errors import UserError
from mumu_jax.models.batch_norm import trains
from mumu_jax.system.files import replacing
from mumu_jax.system.seals import check_seal, is_sealed, seal, unseal

FILE = "frozen.safetensors"
COLLECTIONS = ("params", "batch_stats")
REMEDY = "restore it, or train again in another --workdir"

Names = Set[str]  # paths of leaves, such as params/conv1/kernel


def write_frozen(folder: Path, variables: Mapping[str, Any], trainable: str) -> None:
    """Write the variables that never change if only what `trainable` matches trains; remove the file if all do."""
    leaves = {name: leaf for name, leaf in _flat(variables).items() if not _trains(trainable, name)}
    unseal(folder, FILE)
    if not leaves:
        (folder / FILE).unlink(missing_ok=True)
        return
    with replacing(folder / FILE) as path:
        save_file({name: np.asarray(leaf, order="C") for name, leaf in jax.device_get(leaves).items()}, path)
    seal(folder, FILE)


def names_of_frozen(folder: Path) -> Names:
    """Return the names of the variables in the file; none if there is no file: checkpoints then have them all."""
    if not (folder / FILE).exists():
        if is_sealed(folder, FILE):
            raise UserError(f"{folder / FILE} is missing, the parameters that do not train; {REMEDY}")
        return frozenset()
    try:
        with safe_open(folder / FILE, framework="numpy") as file:
            return frozenset(file.keys())
    except SafetensorError as error:
        raise UserError(f"{folder / FILE} is damaged ({' '.join(str(error).split())}); {REMEDY}") from error


def without(names: Names, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return variables, or the fields of a state, without the leaves of these names."""
    leaves = {name: leaf for name, leaf in _flat(fields).items() if name not in names}
    return {**fields, **{name: {} for name in COLLECTIONS}, **unflatten_dict(leaves, sep="/")}


def with_frozen(folder: Path, fields: Mapping[str, Any], like: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields with the leaves in the file, which have the shapes and shardings of those of `like`.

    Raises UserError if the file is damaged, or another network's.
    """
    check_seal(folder, REMEDY, FILE)
    expected, leaves = _flat(like), {}
    for name, array in load_file(folder / FILE).items():
        leaf = expected.get(name)
        if leaf is None or (leaf.shape, leaf.dtype) != (array.shape, array.dtype):
            raise UserError(f"{folder / FILE} has {name} {array.shape}, which the network has not; {REMEDY}")
        leaves[name] = jax.device_put(array, leaf.sharding)
    return {**fields, **unflatten_dict(_flat(fields) | leaves, sep="/")}


def _flat(fields: Mapping[str, Any]) -> dict[str, Any]:
    return flatten_dict({name: fields[name] for name in COLLECTIONS}, sep="/")


def _trains(trainable: str, name: str) -> bool:
    collection, *path = name.split("/")
    return trains(trainable, [*path[:-1], "scale"] if collection == "batch_stats" else path)
