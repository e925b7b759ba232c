"""The run's folder: all that `evaluate` and `tag` need, and what a resumed run must find unchanged.

config.json      the resolved config, versions, what data it was trained on
vocabulary.json  of a text run: its terms and their idf;  gazetteer: what its entities are found by
fusion.json      of a fusion: the runs that it joins;  features/: their vectors of all albums
labels.json      label names and parents, in column order
constants.npz    input statistics, label factors, which labels occur in training
track/ album/    checkpoints of the networks: the last and the best; no track/ where the items are albums
metrics.jsonl    losses and validation metrics;  perf.jsonl: timings;  events/: TensorBoard
eval_test.json   the final evaluation;  predictions_test.npz: the scores behind it
covers_test.npz  of an image run: some covers of that split with their feature vectors, for figure 2
"""

import dataclasses
import hashlib
import json
import platform
import zipfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool

from mumu_jax import config as configs
from mumu_jax.compute import devices
from mumu_jax.compute.network import Network, apply, example_of, item_network
from mumu_jax.compute.optim import make_optimizer
from mumu_jax.compute.state import abstract_variables, create_state, n_values
from mumu_jax.config import SPEED_ONLY, Config, OptimSettings, flatten
from mumu_jax.data.manifest import Label, read_labels, write_labels
from mumu_jax.data.modalities.text import GAZETTEER
from mumu_jax.errors import UserError
from mumu_jax.models import build_album_network
from mumu_jax.models.kernels.precision import compute_dtype
from mumu_jax.objectives.objective import Constants, n_outputs
from mumu_jax.runs.fusion import FUSION
from mumu_jax.runs.inputs import VOCABULARY, Inputs, load_inputs
from mumu_jax.system.files import replacing, write_json
from mumu_jax.system.version import commit, versions
from mumu_jax.training.checkpoint import Checkpoints

FINAL_SPLITS = ("test", "val")  # what a run is scored on at its end: the first that its data has


@dataclass(frozen=True)
class Trained:
    """One trained network with what it needs to run."""

    network: Network
    variables: Any
    constants: Constants


@dataclass(frozen=True)
class TrainedRun:
    """A finished run, read from its folder alone."""

    config: Config
    labels: list[Label]
    seen: Bool[np.ndarray, " labels"]  # labels with a positive in training
    data_dir: Path
    data_checksum: str
    inputs: Inputs
    track: Trained | None  # None where the items are albums
    album: Trained

    @property
    def first(self) -> Trained:
        """The network that sees the items."""
        return self.track or self.album


def claim(workdir: Path, config: Config, data_dir: Path, checksum: str) -> bool:
    """Make `workdir` this run's, or find that it is: True if there is something to resume.

    Raises UserError if the folder is a run of another config or of other data, naming the first difference.
    """
    theirs = check_settings(workdir, config)
    if theirs is None:
        workdir.mkdir(parents=True, exist_ok=True)
        return False
    if theirs["data"]["checksum"] != checksum:
        raise UserError(
            f"{workdir} was trained on other data (checksum {theirs['data']['checksum'][:12]}, from "
            f"{theirs['data']['dir']}) than {data_dir} holds (checksum {checksum[:12]}); give the same --data_dir, "
            f"or another --workdir"
        )
    return True


def check_settings(workdir: Path, config: Config) -> dict[str, Any] | None:
    """The config.json of the run in `workdir`, None where there is none; raises UserError if it has other settings."""
    path = workdir / "config.json"
    if not path.exists():
        return None
    theirs, before = read_about(path)
    before, now = flatten(before), flatten(config)
    for name in now:
        if name not in SPEED_ONLY and before[name] != now[name]:
            raise UserError(
                f"{workdir} is a run with config.{name}={before[name]!r}, not {now[name]!r}; "
                f"give the same settings to resume it, or another --workdir"
            )
    return theirs


def write_run(
    workdir: Path,
    config: Config,
    labels: list[Label],
    constants: Constants,
    seen: Bool[np.ndarray, " labels"],
    inputs: Inputs,
    data_dir: Path,
    checksum: str,
    weights: dict[str, str] | None,
) -> None:
    """Everything about the run that is known before training.  config.json comes last: it makes the run one.

    `weights` says where those that it starts from come from.
    """
    inputs.save(workdir)
    write_labels(workdir / "labels.json", labels)
    arrays: dict[str, Any] = {f.name: np.asarray(getattr(constants, f.name)) for f in dataclasses.fields(constants)}
    with replacing(workdir / "constants.npz") as path, path.open("wb") as file:
        np.savez(file, seen=seen, **arrays)
    network = network_of_items(inputs, constants)
    about = {
        "config": dataclasses.asdict(config),
        "params": n_values(abstract_variables(network, inputs.item)["params"]),
        "data": {"dir": str(data_dir.absolute()), "checksum": checksum},
        "weights": weights,
        "versions": _versions(config),
    }
    write_json(workdir / "config.json", about)


def load_run(workdir: Path) -> TrainedRun:
    """The run in `workdir` with its best parameters.  Raises UserError if it is not there or not trained."""
    path = workdir / "config.json"
    if not path.exists():
        raise UserError(f"{workdir} is not a run: it has no config.json; give the --workdir of a training run")
    if (workdir / "model.json").exists():
        raise UserError(f"{workdir} is an export, not a run; python -m mumu_jax.tag --model={workdir} uses it")
    about, config = read_about(path)
    constants, seen = read_constants(workdir)
    inputs = load_inputs(config, workdir)
    phase, network, item = inputs.level, network_of_items(inputs, constants), inputs.item
    track, album = None, _load(workdir / phase, network, constants, config.optim, item)
    if phase == "track":
        example = example_of(network, item)
        track, width = album, jax.eval_shape(partial(apply, network), album.variables, example)[1].shape[1]
        vector = jax.ShapeDtypeStruct((width,), np.dtype(np.float32))
        of_vectors, network = constants_of_vectors(constants, width), album_network(config, constants)
        album = _load(workdir / "album", network, of_vectors, config.album_optim, vector)
    labels = read_labels(workdir / "labels.json")
    data = about["data"]
    return TrainedRun(config, labels, seen, Path(data["dir"]), data["checksum"], inputs, track, album)


def source_of_weights(workdir: Path) -> dict[str, str] | None:
    """Where the weights come from that the run started with; None where they were random."""
    return read_about(workdir / "config.json")[0].get("weights")


def fingerprint(workdir: Path) -> str:
    """The run in one word: its name, and a hash of its settings and data, which decide its weights."""
    _, config = read_about(workdir / "config.json")
    names = ("config.json", "constants.npz", VOCABULARY, GAZETTEER, FUSION)
    content = b"".join((workdir / name).read_bytes() for name in names if (workdir / name).exists())
    return f"{config.name}-{hashlib.sha256(content).hexdigest()[:8]}"


def read_constants(workdir: Path) -> tuple[Constants, Bool[np.ndarray, " labels"]]:
    """(constants, seen) as `write_run` left them."""
    path = workdir / "constants.npz"
    try:
        with np.load(path) as arrays:
            return Constants(arrays["mean"], arrays["std"], arrays["label_factors"]), arrays["seen"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise _damaged(path, error) from error


def network_of_items(inputs: Inputs, constants: Constants) -> Network:
    return item_network(inputs.config, n_outputs(inputs.config.target.kind, constants), inputs.n_terms)


def album_network(config: Config, constants: Constants) -> Network:
    model = build_album_network(config, n_outputs(config.target.kind, constants))
    return Network(model, config.target.kind)


def constants_of_vectors(constants: Constants, width: int) -> Constants:
    """The album network sees the mean vectors as they are (section 5.1, step 3)."""
    return dataclasses.replace(constants, mean=np.zeros(width, np.float32), std=np.ones(width, np.float32))


def _load(folder: Path, network: Network, constants: Constants, optim: OptimSettings, item: Any) -> Trained:
    if not folder.is_dir():
        raise UserError(f"{folder.parent} has no trained {folder.name} network; its own training command resumes it")
    here = devices.replicated(devices.make_mesh())
    state = jax.eval_shape(lambda: create_state(network, make_optimizer(optim, network.trainable), item, seed=0))
    like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here), state)
    checkpoints = Checkpoints(folder, read_only=True)
    variables = checkpoints.restore_best(like).variables
    checkpoints.close()
    return Trained(network, variables, constants)


def read_about(path: Path) -> tuple[dict[str, Any], Config]:
    """config.json, and the config in it."""
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        if not {"dir", "checksum"} <= about["data"].keys():
            raise ValueError("it does not name the data")
        return about, configs.from_json(Config, about["config"], str(path))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(f"{path} is not what a training run writes ({error!r}); restore it, or use another --workdir")


def _versions(config: Config) -> dict[str, str | None]:
    packages = ("mumu_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")
    return {
        "python": platform.python_version(),
        "device": jax.devices()[0].device_kind,
        "computes_in": compute_dtype(config.model.precision).__name__,
        "commit": commit(),
        **versions(*packages),
    }
