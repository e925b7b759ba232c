"""Variables that do not change in training: kept once beside a network's checkpoints, which leave them out.

They are the parameters that do not train, and the running statistics of layers whose scale does not.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file

from mumu_jax.errors import UserError
from mumu_jax.models.batch_norm import trains
from mumu_jax.system import processes
from mumu_jax.system.files import write_safetensors
from mumu_jax.system.seals import check_seal, is_sealed, seal, unseal

FILE = "frozen.safetensors"
COLLECTIONS = ("params", "batch_stats")
REMEDY = "restore it, or train again in another --workdir"


class Frozen:
    """The variables that one network's training leaves as they are: a file in the folder of its checkpoints.

    There are none if all variables train, and in folders of earlier versions, whose checkpoints have them.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._path = folder, folder / FILE
        self._names = self._read_names()

    def keep(self, variables: Mapping[str, Any], trainable: str) -> None:
        """Write the variables that `trainable`, the network's, does not match; before the first checkpoint."""
        processes.main_first(lambda: self._write(variables, trainable), str(self._path))
        self._names = self._read_names()

    def leave_out(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of a state, or variables, without what is kept.

        Fields without arrays are left out, so that checkpoints from before a field was added can be restored.
        """
        leaves = {name: leaf for name, leaf in _flat(fields).items() if name not in self._names}
        parts = {**fields, **{name: {} for name in COLLECTIONS}, **unflatten_dict(leaves, sep="/")}
        return {name: value for name, value in parts.items() if jax.tree.leaves(value)}

    def put_back(self, fields: Mapping[str, Any], like: Mapping[str, Any]) -> dict[str, Any]:
        """Return what `leave_out` was given: `fields`, and what is kept, in the shardings of `like`.

        Fields that are missing are those of `like`.  Raises UserError if the file is damaged, or another network's.
        """
        fields, expected = {**like, **fields}, _flat(like)
        if not self._names:
            return fields
        check_seal(self._folder, REMEDY, FILE)
        kept = load_file(self._path)
        for name, array in kept.items():
            if name not in expected or expected[name].shape != array.shape:
                raise UserError(f"{self._path} has {name} {array.shape}, which the network has not; {REMEDY}")
        leaves = {name: jax.device_put(array, expected[name].sharding) for name, array in kept.items()}
        return {**fields, **unflatten_dict(_flat(fields) | leaves, sep="/")}

    def __bool__(self) -> bool:
        return bool(self._names)

    def _write(self, variables: Mapping[str, Any], trainable: str) -> None:
        leaves = {name: leaf for name, leaf in _flat(variables).items() if not _trains(trainable, name)}
        unseal(self._folder, FILE)
        if not leaves:
            self._path.unlink(missing_ok=True)  # of another network that was begun here
            return
        arrays = {name: np.asarray(leaf, order="C") for name, leaf in jax.device_get(leaves).items()}
        write_safetensors(self._path, arrays)
        seal(self._folder, FILE)

    def _read_names(self) -> frozenset[str]:
        """Return the paths of what is kept, such as params/conv1/kernel."""
        if not self._path.exists():
            if is_sealed(self._folder, FILE):
                raise UserError(f"{self._path} is missing, the parameters that do not train; {REMEDY}")
            return frozenset()
        try:
            with safe_open(self._path, framework="numpy") as file:
                return frozenset(file.keys())
        except SafetensorError as error:
            raise UserError(f"{self._path} is damaged ({' '.join(str(error).split())}); {REMEDY}") from error


def _flat(fields: Mapping[str, Any]) -> dict[str, Any]:
    return flatten_dict({name: fields[name] for name in COLLECTIONS}, sep="/")


def _trains(trainable: str, name: str) -> bool:
    collection, *path = name.split("/")
    return trains(trainable, [*path[:-1], "scale"] if collection == "batch_stats" else path)
