"""A network of lyrics for tests: it sees the mean of the pieces' embeddings, that of mel bands, or both.

`python lyrics_model.py MOMENT ARGUMENTS…` is `killed_train.py` with it.
"""

import runpy
from pathlib import Path

import jax.numpy as jnp
from flax import linen as nn

from mumu_jax.models.head import Shallow
from mumu_jax.models.registry import register

N_PIECES = 400
SETTINGS = (
    *("--config=timbre_mlp", "--config.model.family=mean_of_pieces", f"--config.tokens.n_terms={N_PIECES}"),
    *("--config.tokens.max_tokens=96", "--config.optim.batch_size=16", "--config.optim.learning_rate=1e-2"),
    "--config.model.albums=mean",
)


class MeanOfPieces(nn.Module):
    """A dense layer on the mean embedding of a song's pieces, the mean of its mel bands, or both."""

    n_outputs: int
    unit_output: bool
    dropout: float
    dtype: type

    @nn.compact
    def __call__(self, inputs, dropout_keys=None):
        if not isinstance(inputs, dict):
            inputs = {"lyrics" if inputs.dtype == jnp.int32 else "mel": inputs}
        parts = []
        if "lyrics" in inputs:
            mask = (inputs["lyrics"] != 0)[..., None]
            total = jnp.sum(mask * nn.Embed(N_PIECES, 64)(inputs["lyrics"]), axis=1)
            parts.append(total / jnp.maximum(jnp.sum(mask, axis=1), 1))
        if "mel" in inputs:
            parts.append(nn.relu(nn.Dense(64)(inputs["mel"].mean(axis=1))))
        return Shallow(self.n_outputs, self.unit_output, name="output")(jnp.concatenate(parts, axis=-1))


def add() -> None:
    """Register the network."""
    register("mean_of_pieces", sees=("lyrics", "mel", "mel+lyrics"), settings=("dropout", "precision"))(MeanOfPieces)


if __name__ == "__main__":
    add()
    runpy.run_path(str(Path(__file__).with_name("killed_train.py")), run_name="__main__")
