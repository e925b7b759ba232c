"""BERT in PyTorch, of its own layers, and the network of texts; dropout is at the same places as in ours."""

# pyright: reportMissingImports=false
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from mumu_jax.config import BertSettings
from mumu_jax.models.bert import EPSILON, N_TYPES, PADDING


class Encoder(nn.Module):
    def __init__(self, sizes: BertSettings, dropout: float = 0.0):
        super().__init__()
        self.frozen, width = sizes.frozen, sizes.width
        self.words, self.places = nn.Embedding(sizes.n_tokens, width), nn.Embedding(sizes.positions, width)
        self.types = nn.Embedding(N_TYPES, width)
        self.norm, self.dropout = nn.LayerNorm(width, EPSILON), nn.Dropout(dropout)
        layer = nn.TransformerEncoderLayer(width, sizes.heads, sizes.inner, dropout, "gelu", EPSILON, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, sizes.layers, enable_nested_tensor=False)

        self.requires_grad_(not self.frozen)

    def train(self, mode: bool = True) -> "Encoder":
        """Stay in inference mode if frozen."""
        return super().train(mode and not self.frozen)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the states [items, tokens, width]; those of padding mean nothing."""
        x = self.words(ids) + self.places.weight[: ids.shape[1]] + self.types.weight[0]
        return self.layers(self.dropout(self.norm(x)), src_key_padding_mask=ids == PADDING)

    def load_published(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Load the tensors of a published file, by Hugging Face's names."""
        names = {"words": "word", "places": "position", "types": "token_type"}
        state = {f"{ours}.weight": tensors[f"embeddings.{name}_embeddings.weight"] for ours, name in names.items()}
        parts = {
            "self_attn.out_proj": "attention.output.dense",
            "norm1": "attention.output.LayerNorm",
            "linear1": "intermediate.dense",
            "linear2": "output.dense",
            "norm2": "output.LayerNorm",
        }
        for leaf in ("weight", "bias"):
            state[f"norm.{leaf}"] = tensors[f"embeddings.LayerNorm.{leaf}"]
            for i in range(len(self.layers.layers)):
                ours, published = f"layers.layers.{i}", f"encoder.layer.{i}"
                projections = [
                    tensors[f"{published}.attention.self.{name}.{leaf}"] for name in ("query", "key", "value")
                ]
                state[f"{ours}.self_attn.in_proj_{leaf}"] = np.concatenate(projections)
                state |= {f"{ours}.{a}.{leaf}": tensors[f"{published}.{b}.{leaf}"] for a, b in parts.items()}
        self.load_state_dict({name: torch.tensor(array) for name, array in state.items()})


class Bert(nn.Module):
    """The mean of the encoder's states of a text's tokens, and one dense layer on it."""

    def __init__(self, sizes: BertSettings, n_outputs: int, dropout: float = 0.0):
        super().__init__()
        self.encoder, self.dropout = Encoder(sizes, dropout), nn.Dropout(dropout)
        self.dense = nn.Linear(sizes.width, n_outputs)

    def forward(self, ids: Tensor) -> Tensor:
        mask = (ids != PADDING)[..., None]
        x = (self.encoder(ids) * mask).sum(1) / mask.sum(1).clamp(min=1)
        return self.dense(self.dropout(x))
