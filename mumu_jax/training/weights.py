"""Published weights: read their files, convert them to ours, and start a network from them.

Nothing in a file is ever executed.  A converted file is a .safetensors file of float32 tensors, named by their paths in
our networks; the same weights give the same bytes.
"""

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import msgspec
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import Mesh
from safetensors import SafetensorError, safe_open

from mumu_jax.compute import devices
from mumu_jax.compute.network import Network
from mumu_jax.compute.state import TrainState, abstract_variables
from mumu_jax.config import Config, ModelSettings
from mumu_jax.errors import UserError, reason_of
from mumu_jax.models.batch_norm import trains
from mumu_jax.models.pretrained import HEAD, NETWORKS, adopt, check_values, name_of, published_name
from mumu_jax.models.registry import FAMILIES
from mumu_jax.system.files import sha256_of, write_safetensors
from mumu_jax.system.lines import print_remark
from mumu_jax.system.processes import is_main
from mumu_jax.training.musicnn_wheel import SUFFIX as WHEEL
from mumu_jax.training.musicnn_wheel import read_wheel
from mumu_jax.training.torch_files import DOWNLOAD_AGAIN, SAFE_TORCH, read_torch

FORMAT = "mumu_jax weights 1"
METADATA_KEY = "mumu_jax"  # holds all metadata as JSON: safetensors writes several keys in no fixed order

Tensors = dict[str, np.ndarray]


# --- published files ----------------------------------------------------------------------------------------


class Weights(NamedTuple):
    """A published file: its name, the SHA-256 of its bytes, its tensors by their names there, its licence if inside."""

    file: str
    sha256: str
    tensors: Tensors
    licence: str = ""


def read_weights(path: Path, folder: str = "") -> Weights:
    """Read the tensors of a published file; of musicnn's wheel, those of the network in `folder`.

    Raises UserError if it is damaged, of another kind, or holds anything but tensors.
    """
    if path.suffix not in (*READERS, WHEEL):
        raise UserError(f"{path} should end in one of {', '.join((*READERS, WHEEL))}, which say what format it has")
    _check_is_file(path)
    sha256 = sha256_of(path)
    promised = re.search(r"-([0-9a-f]{8})\.pth$", path.name)
    if promised and not sha256.startswith(promised[1]):
        raise UserError(
            f"{path} should have a SHA-256 that begins with {promised[1]}, as its name says, and has {sha256}; "
            f"{DOWNLOAD_AGAIN}"
        )
    try:
        if path.suffix == WHEEL:
            return Weights(f"{path.name}: {folder}", sha256, *read_wheel(path, folder))
        return Weights(path.name, sha256, READERS[path.suffix](path))
    except ImportError as error:
        raise UserError(
            f"reading {path} needs PyTorch {'.'.join(map(str, SAFE_TORCH))} or newer, which is not installed here; "
            "pip install torch, or take a .safetensors file of the same weights"
        ) from error
    except ValueError as error:
        raise UserError(f"{path} cannot be read: {error}") from error


def _check_is_file(path: Path) -> None:
    if not path.is_file():
        raise UserError(f"the file of weights {path} does not exist; correct the path")


def _from_safetensors(path: Path) -> Tensors:
    try:
        tensors, metadata = _read_safetensors(path)
    except ValueError as error:
        raise ValueError(f"{error}; {DOWNLOAD_AGAIN}") from error
    if METADATA_KEY in metadata or metadata.get("format") == FORMAT:
        raise ValueError("it is converted already; train with --config.model.weights, or name the published file")
    return tensors


def _from_npz(path: Path) -> Tensors:
    with path.open("rb") as file:
        if file.read(2) != b"PK":
            raise ValueError(f"it is not an .npz file; {DOWNLOAD_AGAIN}")
        file.seek(0)
        try:
            with np.load(file, allow_pickle=False) as arrays:
                return dict(arrays)
        except Exception as error:  # damaged bytes can raise anything
            if "allow_pickle" in str(error):
                raise ValueError("it holds Python objects, none of which was loaded; save arrays alone") from error
            raise ValueError(f"it is damaged ({reason_of(error)}); {DOWNLOAD_AGAIN}") from error


READERS = {
    ".safetensors": _from_safetensors,
    ".npz": _from_npz,
    **dict.fromkeys((".pth", ".pt", ".bin"), read_torch),
}


# --- converted files ----------------------------------------------------------------------------------------


class Pretrained(NamedTuple):
    """Weights of one of our networks, without `params["output"]` if the published file had no last layer."""

    model: str
    params: dict[str, Any]
    batch_stats: dict[str, Any]
    about: dict[str, str]  # source: name of the published file; sha256: of its bytes
    vocabulary: tuple[str, ...] = ()  # the labels of the published outputs, in their order; () if unknown
    front_end: str = ""  # the preset of mel spectrograms that the network was trained on; "" of images
    licence: str = ""  # the notice that must go with the weights; "" if the published file has none
    sizes: Mapping[str, int] = {}  # of BERT's encoder, by the fields of config.model.bert

    @property
    def variables(self) -> dict[str, Any]:
        return {"params": self.params, "batch_stats": self.batch_stats}


class _Metadata(msgspec.Struct, omit_defaults=True):
    """Metadata of a converted file: the network, and the published file that its weights come from."""

    format: str
    model: str
    source: str
    sha256: str
    vocabulary: tuple[str, ...] = ()
    front_end: str = ""
    licence: str = ""
    sizes: dict[str, int] = {}


def write_pretrained(path: Path, pretrained: Pretrained) -> None:
    """Write a converted file."""
    leaves: dict[str, Any] = flatten_dict(pretrained.variables, sep="/")
    tensors = {name: np.asarray(leaf, np.float32, order="C") for name, leaf in leaves.items()}
    about, more = pretrained.about, (pretrained.vocabulary, pretrained.front_end, pretrained.licence)
    sizes = dict(pretrained.sizes)
    metadata = _Metadata(FORMAT, pretrained.model, about["source"], about["sha256"], *more, sizes)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_safetensors(path, tensors, {METADATA_KEY: msgspec.json.encode(metadata).decode()})


def load_pretrained(path: Path) -> Pretrained:
    """Read a converted file.  Raises UserError if it is damaged or something else."""
    _check_is_file(path)
    try:
        tensors, raw = _read_safetensors(path)
        # Files of version 0.1.0 have a key for each value.
        metadata = msgspec.convert(json.loads(raw[METADATA_KEY]) if METADATA_KEY in raw else raw, _Metadata)
        if metadata.format != FORMAT:
            raise ValueError(f"its format is {metadata.format!r}, not {FORMAT!r}")
        trees = unflatten_dict(tensors, sep="/")
        if "params" not in trees:
            raise ValueError("it holds no parameters")
        for name, tensor in tensors.items():
            check_values(name, tensor, is_variance=name.endswith("/var"))
    except ValueError as error:
        raise UserError(
            f"{path} holds no converted weights: {error}; make them: "
            f"python scripts/convert_weights.py --from={path} --model=MODEL --out=FILE.safetensors"
        ) from error
    about = {"source": metadata.source, "sha256": metadata.sha256}
    more = (metadata.vocabulary, metadata.front_end, metadata.licence, metadata.sizes)
    return Pretrained(metadata.model, trees["params"], trees.get("batch_stats", {}), about, *more)


def _read_safetensors(path: Path) -> tuple[Tensors, dict[str, str]]:
    """Return (tensors, metadata) of a .safetensors file, bfloat16 as float32.  Raises ValueError if it is damaged."""
    try:
        with safe_open(path, framework="numpy") as file:
            tensors = {name: _tensor(file, name) for name in file.keys()}  # noqa: SIM118  not a dict
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(" ".join(str(error).split())) from error
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        json.loads(file.read(size), object_pairs_hook=_check_keys)  # which `safe_open` does not
    return tensors, metadata


def _tensor(file: Any, name: str) -> np.ndarray:
    try:
        tensor = file.get_tensor(name)
    except AttributeError as error:
        raise ValueError(f"tensor {name!r} is {file.get_slice(name).get_dtype()}, which NumPy does not have") from error
    return tensor.astype(np.float32) if tensor.dtype == jnp.bfloat16 else tensor


def _check_keys(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("its header has a key twice")


# --- the start of training ----------------------------------------------------------------------------------


def check_weights(config: Config, network: Network, item: Any) -> dict[str, str] | None:
    """Return where the weights come from that `config` names, None if it names none.

    `item` is the shape and dtype of what the network sees.  Raises UserError unless the weights fit the network.
    """
    if not config.model.weights:
        return None
    pretrained = load_for(config.model)
    adopt(abstract_variables(network, item), pretrained.variables)
    return pretrained.about


def load_for(settings: ModelSettings) -> Pretrained:
    """Load the weights that `settings` name.  Raises UserError if they are another network's, or cannot be read."""
    name = published_name(settings)
    pretrained = load_pretrained(Path(settings.weights))
    if pretrained.model != name:
        raise UserError(
            f"config.model.weights={settings.weights} is for {pretrained.model}, and the network is {name}; "
            f"convert the weights of {name} (scripts/convert_weights.py), or choose another network"
        )
    wrong = {name: size for name, size in pretrained.sizes.items() if getattr(settings.bert, name) != size}
    if wrong:
        raise UserError(
            f"config.model.weights={settings.weights} is a BERT of other sizes than config.model.bert; give "
            + " ".join(f"--config.model.bert.{name}={size}" for name, size in wrong.items())
        )
    return pretrained


def start_from_weights(
    state: TrainState, settings: ModelSettings, source: dict[str, str] | None, mesh: Mesh
) -> TrainState:
    """Return the initial `state` with the weights that `settings` name, if they name any, and print which they are.

    Raises UserError unless the weights come from `source`, as when `check_weights` read them.
    """
    if not settings.weights:
        if is_main() and "weights" in FAMILIES[settings.family].settings:
            hint = "; --config.model.weights=FILE names published ones" if name_of(settings) in NETWORKS else ""
            print_remark(f"starting from random weights{hint}")
        return state
    pretrained = load_for(settings)
    if pretrained.about != source:
        raise UserError(
            f"config.model.weights={settings.weights} is not the file that the run was started with; "
            "restore that file, or use another --workdir"
        )
    variables, with_head = adopt(jax.device_get(state.variables), pretrained.variables)
    variables = devices.put_replicated(variables, mesh)
    if is_main():
        name, sha256 = pretrained.about["source"], pretrained.about["sha256"]
        head = "its last layer included" if with_head else "with a last layer of random weights"
        head = "with random weights after the encoder" if pretrained.sizes else head
        print_remark(f"starting from {name} (SHA-256 {sha256[:8]}…), {head}")
    return dataclasses.replace(state, params=variables["params"], batch_stats=variables.get("batch_stats", {}))


def print_trainable(network: Network, item: Any) -> None:
    """Print how many parameter arrays train, unless all do, and whether a last layer of random weights does not."""
    if not (network.trainable and is_main()):
        return
    paths = list(flatten_dict(abstract_variables(network, item)["params"]))
    frozen = [path for path in paths if not trains(network.trainable, path)]
    head = ", and the last layer (output) is not among them" if HEAD[1:] in {path[:2] for path in frozen} else ""
    print_remark(f"{len(paths) - len(frozen)} of {len(paths)} parameter arrays train{head}")
