"""Genres described by their names: what a published BERT makes of them (Ru et al. 2023, section 2.4)."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32

from mumu_jax.config import Config
from mumu_jax.data.modalities.lyrics.wordpiece import read_wordpiece
from mumu_jax.models.bert import build_encoder, mean_of_tokens
from mumu_jax.training.weights import load_for

ENDS = 2  # the pieces [CLS] and [SEP] around a text; a mean of so few pieces would be mostly theirs


def vectors_of_names(names: Sequence[str], config: Config) -> Float32[np.ndarray, "names width"]:
    """Return the mean, over the word pieces of each name, of the last layer's states, in float32.

    Reads config.model.weights and config.tokens.vocabulary; raises UserError if either cannot be read.
    """
    tokens = config.tokens
    ids = read_wordpiece(Path(tokens.vocabulary), tokens).encode(list(names), tokens.max_tokens)
    length = np.count_nonzero(ids, axis=1)
    ids = jnp.asarray(ids[:, : length.max()])
    encoder = build_encoder(replace(config.model, precision="float32", dropout=0.0))
    params = load_for(config.model).params["encoder"]
    states = jax.jit(encoder.apply)({"params": params}, ids)
    is_inner = (jnp.arange(ids.shape[1]) > 0) & (jnp.arange(ids.shape[1]) < jnp.asarray(length)[:, None] - 1)
    return np.asarray(mean_of_tokens(states, jnp.where(is_inner, ids, 0)))
