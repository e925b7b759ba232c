"""The run's folder: everything that `evaluate` and `tag` need, and that a resumed run must find unchanged.

`mumu_jax/README.md` lists its files.
"""

import dataclasses
import json
import os
import platform
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mumu_jax.compute import devices
from mumu_jax.compute.formulations import with_formulations
from mumu_jax.compute.network import (
    VECTORS,
    Constants,
    Network,
    album_network,
    apply,
    constants_of_vectors,
    example_of,
    item_network,
)
from mumu_jax.compute.state import abstract_variables, n_values
from mumu_jax.config import SPEED_ONLY, Config
from mumu_jax.data.manifest import Label, read_labels, write_labels
from mumu_jax.data.modalities.inputs import Inputs
from mumu_jax.data.modalities.lyrics import PIECES
from mumu_jax.data.modalities.text import GAZETTEER, VOCABULARY
from mumu_jax.data.modalities.vectors import FUSION
from mumu_jax.errors import UserError
from mumu_jax.fields import flatten, from_json
from mumu_jax.models.kernels.formulations import Choice
from mumu_jax.models.kernels.precision import compute_dtype
from mumu_jax.runs import constants as run_constants
from mumu_jax.runs import formulations
from mumu_jax.runs.constants import Seen, read_constants, write_constants
from mumu_jax.runs.fingerprint import fingerprint, former_fingerprint
from mumu_jax.runs.settings import unused_settings
from mumu_jax.system.files import write_json
from mumu_jax.system.seals import SEAL, check_seal, is_sealed, seal, unseal
from mumu_jax.system.version import commit, versions
from mumu_jax.training.checkpoint import Checkpoints

BASELINE, CALIBRATION = "baseline.npz", "calibration.npz"
IMPORTANCE = "importance.json"  # of boosted trees: each column's share of what the splits have gained
# The files and folders that are checked whenever a run is read: all from before training, but the last two.
FIXED = (
    *("config.json", "labels.json", run_constants.FILE, VOCABULARY, PIECES, GAZETTEER, FUSION, "features"),
    *(BASELINE, CALIBRATION),
)
FINAL_SPLITS = ("test", "val")  # a run is scored at its end on the first of these that its data has


@dataclass(frozen=True)
class Trained:
    """One trained network with what it needs to run."""

    network: Network
    variables: Any
    constants: Constants


@dataclass(frozen=True)
class TrainedRun:
    """A finished run, read from its folder alone.

    `names` are its fingerprint, and the one that it had before weights were counted.
    """

    names: tuple[str, str]
    config: Config
    labels: list[Label]
    seen: Seen
    data_dir: Path
    data_checksum: str
    inputs: Inputs
    track: Trained | None  # None if the items are albums
    album: Trained

    @property
    def fingerprint(self) -> str:
        """The run in one word, by which others recognise it."""
        return self.names[0]

    @property
    def first(self) -> Trained:
        """The network that sees the items."""
        return self.track or self.album


def is_begun(workdir: Path, config: Config, data_dir: Path, checksum: str) -> bool:
    """Return True if `workdir` is this run's folder already, and there is something to resume.

    Raises UserError if the folder is a run of another config or of other data, naming the first difference.
    """
    about = check_same_settings(workdir, config)
    if about and about["data"]["checksum"] != checksum:
        difference = difference_of_data(workdir, Path(about["data"]["dir"]), data_dir)
        raise UserError(f"{difference}; give the data that it was trained on as --data_dir, or another --workdir")
    return about is not None


def difference_of_data(workdir: Path, before: Path, data_dir: Path) -> str:
    """Say how the data in `data_dir` differs from what the run was trained on, which was in `before`."""
    if os.path.realpath(data_dir) == os.path.realpath(before):
        return f"{data_dir} was prepared again since {workdir} was trained on it, and may mix its splits"
    return f"{data_dir} is other data than {workdir} was trained on ({before})"


def check_same_settings(workdir: Path, config: Config) -> dict[str, Any] | None:
    """Return the config.json of the run in `workdir`, None if there is none.

    Raises UserError if that run has other settings; those that it does not use are not compared.
    """
    path = workdir / "config.json"
    if not path.exists():
        return None
    about, before = read_about(path)
    settings_before, settings = flatten(before), flatten(config)
    ignored = SPEED_ONLY | unused_settings(config).keys()
    for name in settings:
        if name not in ignored and settings_before[name] != settings[name]:
            raise UserError(
                f"{workdir} is a run with config.{name}={settings_before[name]!r}, not {settings[name]!r}; "
                f"give the same settings to resume it, or another --workdir"
            )
    return about


def write_run(
    workdir: Path,
    inputs: Inputs,
    labels: list[Label],
    constants: Constants,
    seen: Seen,
    data: dict[str, str],
    weights: dict[str, str] | None,
    choice: Choice,
) -> None:
    """Write everything about the run that is known before training.  config.json comes last: it makes the run one.

    `data` is the folder and the checksum of the data, `weights` the origin of published weights that it starts from,
    `choice` the formulations of its convolutions.
    """
    unseal(workdir, *FIXED)  # of a run that was here before
    inputs.save(workdir)
    write_labels(workdir / "labels.json", labels)
    write_constants(workdir, constants, seen)
    network = item_network(inputs.config, len(labels), constants.fitted)
    about = {
        "config": dataclasses.asdict(inputs.config),
        "params": n_values(abstract_variables(network, inputs.item)["params"]),
        "data": data,
        "weights": weights,
        formulations.NAME: formulations.as_json(choice),
        "versions": _versions(inputs.config),
    }
    write_json(workdir / "config.json", about)
    seal_settings(workdir)


def seal_settings(workdir: Path) -> None:
    """Record the checksums of everything that is known before training, unless they are: a kill came between."""
    if not is_sealed(workdir, "config.json"):
        seal(workdir, *FIXED)


def check_run(workdir: Path) -> None:
    """Raise UserError if a file that a network needs is not what was written."""
    remedy = f"restore it, or train again in another --workdir (if you changed it yourself, remove {workdir / SEAL})"
    check_seal(workdir, remedy, *FIXED)


def load_run(workdir: Path) -> TrainedRun:
    """Load the run in `workdir` with its best parameters.  Raises UserError if it is missing or not trained."""
    _check_is_run(workdir)
    check_run(workdir)
    about, config = read_about(workdir / "config.json")
    constants, seen = read_constants(workdir, config)
    inputs, labels = Inputs.load(config, workdir), read_labels(workdir / "labels.json")
    network = as_recorded(item_network(config, len(labels), constants.fitted), workdir)
    first = _load(workdir / inputs.level, network, constants, inputs.item)
    track, album = None, first
    if inputs.level == "track":
        track, width = first, embedding_width(first, inputs.item)
        network = album_network(config, len(labels), constants.fitted)
        vector = {VECTORS: jax.ShapeDtypeStruct((width,), np.float32)}
        album = _load(workdir / "album", network, constants_of_vectors(constants, width), vector)
    data, variables = about["data"], [trained.variables for trained in (track, album) if trained]
    names = (fingerprint(about, variables), former_fingerprint(workdir, config.name))
    return TrainedRun(names, config, labels, seen, Path(data["dir"]), data["checksum"], inputs, track, album)


def read_data_dir(workdir: Path) -> Path:
    """Return the folder of the data that the run in `workdir` was trained on; raises UserError if it is not a run."""
    _check_is_run(workdir)
    return Path(read_about(workdir / "config.json")[0]["data"]["dir"])


def _check_is_run(workdir: Path) -> None:
    if not (workdir / "config.json").exists():
        raise UserError(f"{workdir} is not a run: it has no config.json; give the --workdir of a training run")
    if (workdir / "model.json").exists():
        raise UserError(f"{workdir} is an export, not a run; python -m mumu_jax.tag --model={workdir} uses it")


def embedding_width(trained: Trained, item: Any) -> int:
    """Return the width of a network's penultimate vectors."""
    example = example_of(trained.network, item)
    return jax.eval_shape(partial(apply, trained.network), trained.variables, example, trained.constants)[1].shape[1]


def as_recorded(network: Network, workdir: Path) -> Network:
    """Return the network with its convolutions computed as the run in `workdir` has recorded."""
    path = workdir / "config.json"
    return with_formulations(network, formulations.from_about(read_about(path)[0], str(path)))


def source_of_weights(workdir: Path) -> dict[str, str] | None:
    """Return the origin of the weights that the run started with; None if they were random."""
    return read_about(workdir / "config.json")[0].get("weights")


def _load(folder: Path, network: Network, constants: Constants, item: Any) -> Trained:
    if not folder.is_dir():
        raise UserError(f"{folder.parent} has no trained {folder.name} network; its own training command resumes it")
    here = devices.replicated(devices.make_mesh())
    like = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here), abstract_variables(network, item)
    )
    checkpoints = Checkpoints(folder, read_only=True)
    variables = checkpoints.restore_best(like)
    checkpoints.close()
    return Trained(network, variables, constants)


def read_about(path: Path) -> tuple[dict[str, Any], Config]:
    """Read config.json, and the config in it; raises UserError if it is missing or damaged."""
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        if not {"dir", "checksum"} <= about["data"].keys():
            raise ValueError("it does not name the data")
        return about, from_json(Config, about["config"], str(path))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} is not what a training run writes ({error!r}); restore it, or use another --workdir"
        ) from error


def _versions(config: Config) -> dict[str, str | None]:
    packages = ("mumu_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")
    return {
        "python": platform.python_version(),
        "device": jax.devices()[0].device_kind,
        "computes_in": compute_dtype(config.model.precision).__name__,
        "commit": commit(),
        **versions(*packages),
    }
