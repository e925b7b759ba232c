"""Files of weights: those that others publish (.safetensors, .npz, .pth), and ours, which a run starts from.

Nothing in a file is ever executed.  Ours is a .safetensors file: readable without another package, the same bytes for
the same weights, and with room for where they come from.
"""

import hashlib
import importlib
import io
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mumu_jax.errors import UserError
from mumu_jax.system.files import replacing
from mumu_jax.training import safetensors
from mumu_jax.training.safetensors import Tensors

FORMAT = "mumu_jax weights 1"
SAFE_TORCH = (2, 6)  # before, `weights_only` could be deceived: CVE-2025-32434
LOAD_ANEW = "load it anew from where it is published"
SAVE_ALONE = "save its state dict alone: torch.save(model.state_dict(), FILE)"


class Weights(NamedTuple):
    """A published file: its name, the SHA-256 of its bytes, its tensors by their names there."""

    file: str
    sha256: str
    tensors: Tensors


class Pretrained(NamedTuple):
    """Weights of one of our networks, without `params["output"]` where the source had no last layer."""

    model: str
    params: dict[str, Any]
    batch_stats: dict[str, Any]
    about: dict[str, str]  # source: file name; sha256: of that file

    @property
    def variables(self) -> dict[str, Any]:
        return {"params": self.params, "batch_stats": self.batch_stats}


def read_weights(path: Path) -> Weights:
    """The tensors of a published file.  Raises UserError if it is damaged, of another kind, or more than tensors."""
    if path.suffix not in READERS:
        raise UserError(f"{path} should end in one of {', '.join(READERS)}, which say what format it has")
    data = _read(path)
    sha256 = hashlib.sha256(data).hexdigest()
    promised = re.search(r"-([0-9a-f]{8})\.pth$", path.name)
    if promised and not sha256.startswith(promised[1]):
        raise UserError(
            f"{path} should have a SHA-256 that begins with {promised[1]}, as its name says, and has {sha256}; "
            "load it anew from where it is published"
        )
    try:
        return Weights(path.name, sha256, READERS[path.suffix](data))
    except ImportError as error:
        raise UserError(
            f"{path} is read by PyTorch, {'.'.join(map(str, SAFE_TORCH))} or newer, which is not installed here; "
            "pip install torch, or take a .safetensors file of the same weights"
        ) from error
    except ValueError as error:
        raise UserError(f"{path} cannot be read: {error}") from error


def write_pretrained(path: Path, pretrained: Pretrained) -> None:
    metadata = {**pretrained.about, "format": FORMAT, "model": pretrained.model}
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_bytes(safetensors.to_bytes(_flatten(pretrained.variables), metadata))


def load_pretrained(path: Path) -> Pretrained:
    """What `write_pretrained` wrote.  Raises UserError if the file is damaged or another's."""
    try:
        tensors, metadata = safetensors.from_bytes(_read(path))
        if metadata.pop("format", None) != FORMAT:
            raise ValueError("it is not one of ours")
    except ValueError as error:
        raise UserError(
            f"{path} holds no converted weights: {error}; make them: "
            f"python scripts/convert_weights.py --from={path} --model=MODEL --out=FILE.safetensors"
        ) from error
    trees = _unflatten(tensors)
    return Pretrained(metadata.pop("model"), trees["params"], trees.get("batch_stats", {}), metadata)


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise UserError(f"there is no file {path}; name one that is there")
    return path.read_bytes()


def _from_safetensors(data: bytes) -> Tensors:
    try:
        tensors, metadata = safetensors.from_bytes(data)
    except ValueError as error:
        raise ValueError(f"{error}; {LOAD_ANEW}") from error
    if metadata.get("format") == FORMAT:
        raise ValueError("it is converted already; train with --config.model.weights, or name the published file")
    return tensors


def _from_npz(data: bytes) -> Tensors:
    if not data.startswith(b"PK"):
        raise ValueError(f"it is no .npz; {LOAD_ANEW}")
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            return dict(file)
    except Exception as error:  # whatever the damage makes of the bytes
        if "allow_pickle" in str(error):
            raise ValueError("it holds Python objects, of which none was loaded; save arrays alone") from error
        raise ValueError(f"it is damaged; {LOAD_ANEW}") from error


def _from_torch(data: bytes) -> Tensors:
    torch: Any = importlib.import_module("torch")  # which need not be installed
    if tuple(map(int, torch.__version__.split(".")[:2])) < SAFE_TORCH:
        raise ImportError(torch.__version__)
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the damage makes of the bytes
        code = re.search(r"GLOBAL (\S+)", str(error))
        if code:
            raise ValueError(f"it holds Python objects ({code[1]}), of which none was loaded; {SAVE_ALONE}") from error
        raise ValueError(f"it is damaged, or no file of PyTorch's; {LOAD_ANEW}") from error
    if not isinstance(state, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        found = f"a dict of {', '.join(map(str, list(state)[:3]))}" if isinstance(state, dict) else type(state).__name__
        raise ValueError(f"it holds no state dict, but {found}; {SAVE_ALONE}")
    return {name: _from_tensor(tensor) for name, tensor in state.items()}


def _from_tensor(tensor: Any) -> np.ndarray:
    tensor = tensor.detach()
    return (tensor.float() if tensor.is_floating_point() else tensor).numpy()


READERS = {
    ".safetensors": _from_safetensors,
    ".npz": _from_npz,
    **dict.fromkeys((".pth", ".pt", ".bin"), _from_torch),
}


def _flatten(tree: dict[str, Any], prefix: str = "") -> Tensors:
    flat = {}
    for name, value in tree.items():
        flat |= _flatten(value, f"{prefix}{name}/") if isinstance(value, dict) else {prefix + name: value}
    return flat


def _unflatten(flat: Tensors) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, value in flat.items():
        *folders, name = path.split("/")
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
        node[name] = value
    return tree
