"""Every experiment once, and random inputs in the shape that its network sees."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from mumu_jax.batch import Sparse
from mumu_jax.config import BertSettings, Config
from mumu_jax.data.modalities.inputs import Inputs
from mumu_jax.experiments import load_config, load_experiments
from mumu_jax.models.densenet import DenseNet
from mumu_jax.models.vit import ViT

NNZ = 7
# By name, those left out that are another one's short name.
UNIQUE = list({repr(dataclasses.replace(e.config, name="")): name for name, e in load_experiments().items()}.values())
BETWEEN = ("contrast", "attention", "graph", "contrast_attention", "contrast_graph", "attention_graph")


def _marks(name: str) -> Any:
    """Return `full` of networks like another one, and `slow` of what lies between two others in all parts."""
    if name in {f"joint_{parts}" for parts in BETWEEN}:
        return pytest.mark.slow
    is_like_another = name.startswith(("mel", "joint", "lyrics")) and name != "mel_musicnn"
    return pytest.mark.full if is_like_another else ()


EACH = [pytest.param(name, marks=_marks(name)) for name in UNIQUE]
# The fewest frames that a network on mel spectrograms can see, if more only take longer.
FEWEST_FRAMES = {"musicnn": 16, "musicnn_won": 16, "crnn": 192, "short_chunk": 128, "short_chunk_residual": 128}


def small_config(name: str) -> Config:
    """The config of a named experiment, with shorter mel spectrograms and fewer residual blocks."""
    config = load_config(name)
    if config.model.family == "resnet":
        config.model.depth = 10
    config.mel.patch_frames = FEWEST_FRAMES.get(config.model.family, config.mel.patch_frames)
    config.model.rounds = 8  # of trees, which the contracts see at random
    if "lyrics" in config.inputs:
        small = BertSettings(layers=1, width=32, heads=2, inner=64, n_tokens=200, frozen=config.model.bert.frozen)
        config.model.bert, config.model.width_divisor, config.tokens.max_tokens = small, 8, 12
        config.mel.patch_frames, config.mel.n_bins = 64, 32
    return config


def shallow(model: Any) -> Any:
    """The network with fewer blocks, of which all are alike."""
    if isinstance(model, DenseNet):
        return model.clone(blocks=(1, 2, 1, 1))
    return model.clone(depth=2) if isinstance(model, ViT) else model


def random_inputs(config: Config, shape: tuple[int, ...], rng: np.random.Generator) -> dict[str, Any]:
    """Inputs [*shape, …] by modality: patches, timbre, images, rows of tf-idf (the last one empty)."""
    return {name: _random_input(name, item, shape, rng) for name, item in Inputs.unfitted(config).item.items()}


def _random_input(name: str, item: Any, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
    if isinstance(item, Sparse):
        n_rows = int(np.prod(shape))
        columns = np.stack([rng.choice(item.n_columns, NNZ, replace=False) for _ in range(n_rows)])
        values = rng.uniform(0, 1, (n_rows, NNZ)).astype(np.float32)
        values[-1] = 0
        return Sparse(columns.astype(np.int32).reshape(*shape, NNZ), values.reshape(*shape, NNZ), item.n_columns)
    if name == "lyrics":
        return rng.integers(1, 100, (*shape, *item.shape), np.int32)
    if name == "image":
        return rng.integers(0, 256, (*shape, *item.shape), np.uint8)
    low, high = {"audio": (-80, 0), "mel": (0, 1)}.get(name, (-1, 1))
    return rng.uniform(low, high, (*shape, *item.shape)).astype(item.dtype)
