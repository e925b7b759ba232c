"""State dicts in PyTorch's files: those from before version 1.6 without PyTorch, others with it, if it is installed."""

import importlib
import re
from pathlib import Path
from typing import Any

import numpy as np

from mumu_jax.errors import reason_of
from mumu_jax.training.legacy_torch import ForeignObject, NoStateDict, is_legacy, read_legacy

SAFE_TORCH = (2, 6)  # in older versions, `weights_only` could be deceived: CVE-2025-32434
DOWNLOAD_AGAIN = "download it again from where it is published"
SAVE_STATE_DICT = "save its state dict alone: torch.save(model.state_dict(), FILE)"

Tensors = dict[str, np.ndarray]


def read_torch(path: Path) -> Tensors:
    """Return the tensors of a state dict.

    Raises ValueError if the file is damaged or holds anything else, ImportError if PyTorch is needed and missing.
    """
    if is_legacy(path):
        return _from_legacy_torch(path)
    torch: Any = importlib.import_module("torch")  # an optional package
    if tuple(map(int, torch.__version__.split(".")[:2])) < SAFE_TORCH:
        raise ImportError(torch.__version__)
    try:
        with path.open("rb") as file:
            state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes can raise anything
        code = re.search(r"GLOBAL (\S+)", str(error))
        raise (_holds_objects(code[1]) if code else _damaged(error)) from error
    if not isinstance(state, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        raise _no_state_dict(state)
    return {name: _from_tensor(tensor) for name, tensor in state.items()}


def _from_legacy_torch(path: Path) -> Tensors:
    """Read what PyTorch wrote before version 1.6, which needs no PyTorch."""
    try:
        return read_legacy(path)
    except ForeignObject as error:
        raise _holds_objects(str(error)) from error
    except NoStateDict as error:
        raise _no_state_dict(error.content) from error
    except Exception as error:  # damaged bytes can raise anything
        raise _damaged(error) from error


def _holds_objects(names: str) -> ValueError:
    return ValueError(f"it holds Python objects ({names}), none of which was loaded; {SAVE_STATE_DICT}")


def _damaged(error: Exception) -> ValueError:
    return ValueError(f"it is damaged, or not a file of PyTorch's ({reason_of(error)}); {DOWNLOAD_AGAIN}")


def _no_state_dict(content: Any) -> ValueError:
    keys = ", ".join(map(str, list(content)[:3])) if isinstance(content, dict) else ""
    described = f"a dict of {keys}" if keys else type(content).__name__
    return ValueError(f"it should hold a state dict, and holds {described}; {SAVE_STATE_DICT}")


def _from_tensor(tensor: Any) -> np.ndarray:
    tensor = tensor.detach()
    return (tensor.float() if tensor.is_floating_point() else tensor).numpy()
