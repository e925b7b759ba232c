"""Our networks of songs and lyrics in PyTorch, from its own layers; modules are named after our parameters.

They see log-mel patches [items, frames, bins] and ids [items, tokens], which end with padding.
"""

# pyright: reportMissingImports=false
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.torch_bert import Encoder
from mumu_jax.config import Config
from mumu_jax.models.bert import PADDING
from mumu_jax.models.head import GRAPH_WIDTH
from mumu_jax.models.joint.encoders import FILTERS
from mumu_jax.objectives.contrastive import FIRST_TEMPERATURE, LEAST_TEMPERATURE
from mumu_jax.objectives.label_graph import ADJACENCY, FEATURES


class Sequence(NamedTuple):
    vectors: Tensor  # [items, places, d]
    mask: Tensor | None = None  # True where a place is real

    def mean(self) -> Tensor:
        if self.mask is None:
            return self.vectors.mean(1)
        return (self.vectors * self.mask[..., None]).sum(1) / self.mask.sum(1, keepdim=True).clamp(min=1)


class Blocks(nn.Module):
    def __init__(self, divisor: int):
        super().__init__()
        filters = [1, *(n // divisor for n in FILTERS)]
        pairs = list(pairwise(filters))
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1, bias=False) for a, b in pairs)
        self.norms = nn.ModuleList(nn.BatchNorm2d(b) for _, b in pairs)

    def forward(self, patches: Tensor) -> Sequence:
        x, last = patches[:, None], len(self.convs) - 1
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = functional.relu(norm(conv(x)))
            x = functional.max_pool2d(x, (2, x.shape[3] if i == last else 2))
        return Sequence(x[..., 0].transpose(1, 2))


class Output(nn.Module):
    """A dense layer, or the products with the vectors that a graph network makes of the labels."""

    def __init__(self, config: Config, width: int, n_outputs: int, fitted: dict[str, Tensor]):
        super().__init__()
        self.is_graph, self.dropout = config.target.head == "graph", nn.Dropout(config.model.dropout)
        if self.is_graph:
            self.register_buffer(ADJACENCY, fitted[ADJACENCY])
            self.register_buffer(FEATURES, fitted[FEATURES])
            self.first = nn.Linear(fitted[FEATURES].shape[1], GRAPH_WIDTH, bias=False)
            self.second = nn.Linear(GRAPH_WIDTH, width, bias=False)
        else:
            self.dense = nn.Linear(width, n_outputs)

    def forward(self, vector: Tensor) -> Tensor:
        vector = self.dropout(vector)
        if not self.is_graph:
            return self.dense(vector)
        adjacency, features = self.get_buffer(ADJACENCY), self.get_buffer(FEATURES)
        hidden = functional.leaky_relu(adjacency @ self.first(features), 0.2)
        return vector @ (adjacency @ self.second(hidden)).T


class CrossModal(nn.Module):
    def __init__(self, d_own: int, d_other: int, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(d, width, bias=False) for d in (d_own, d_other, d_other))
        self.residual = nn.Identity() if d_own == width else nn.Linear(d_own, width, bias=False)
        self.norm = nn.LayerNorm(width, 1e-6)

    def forward(self, queries: Sequence, others: Sequence) -> Sequence:
        q, k, v = (
            x.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for x in (self.query(queries.vectors), self.key(others.vectors), self.value(others.vectors))
        )
        mask = None if others.mask is None else others.mask[:, None, None]
        attended = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)
        return Sequence(self.norm(self.residual(queries.vectors) + attended), queries.mask)


class Joint(nn.Module):
    """Both encoders; of lyrics first, as our parameters are in alphabetical order."""

    def __init__(self, config: Config):
        super().__init__()
        self.joint, sizes, self.dropout = config.model.joint, config.model.bert, nn.Dropout(config.model.dropout)
        self.encoder, self.mel_encoder = Encoder(sizes, config.model.dropout), Blocks(config.model.width_divisor)
        self.widths = (sizes.width, FILTERS[-1] // config.model.width_divisor)

    def encode(self, mel: Tensor, lyrics: Tensor) -> tuple[Sequence, Sequence]:
        return Sequence(self.encoder(lyrics), lyrics != PADDING), self.mel_encoder(mel)


class CrossAttention(Joint):
    """Returns (logits, the contrastive loss); `places` are those of lyrics and song."""

    def __init__(self, config: Config, n_outputs: int, fitted: dict[str, Tensor], places: tuple[int, int]):
        super().__init__(config)
        (a, b), joint = self.widths, self.joint
        if joint.contrast:
            self.projections = nn.ModuleList(nn.Linear(d, joint.projection, bias=False) for d in (a, b))
            self.log_temperature = nn.Parameter(torch.tensor(FIRST_TEMPERATURE).log())
        if joint.attention:
            pairs = ((a, b), (b, a))
            self.attentions = nn.ModuleList(CrossModal(*pair, joint.width, joint.heads) for pair in pairs)
            a = b = joint.width
        self.flat = joint.attention and joint.fuse == "flatten"
        joined = places[0] * a + places[1] * b if self.flat else a + b
        self.dense = nn.Linear(joined, joint.fused)
        self.output = Output(config, joint.fused, n_outputs, fitted)

    def forward(self, mel: Tensor, lyrics: Tensor) -> tuple[Tensor, Tensor | None]:
        pair = self.encode(mel, lyrics)
        loss = self._contrast(pair) if self.joint.contrast else None
        if self.joint.attention:
            pair = [attention(*both) for attention, both in zip(self.attentions, (pair, pair[::-1]), strict=True)]
        vector = self.dense(torch.cat([_flat(one) if self.flat else one.mean() for one in pair], 1))
        return self.output(vector), loss

    def _contrast(self, pair: tuple[Sequence, Sequence]) -> Tensor:
        a, b = (
            functional.normalize(project(one.mean()), dim=1)
            for project, one in zip(self.projections, pair, strict=True)
        )
        temperature = self.log_temperature.exp().clamp(min=LEAST_TEMPERATURE)
        logits, own = a @ b.T / temperature, torch.arange(len(a), device=a.device)
        return (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)) / 2


def _flat(one: Sequence) -> Tensor:
    return (one.vectors if one.mask is None else one.vectors * one.mask[..., None]).flatten(1)


class CoAttentionLayer(nn.Module):
    def __init__(self, width: int, heads: int, empty: int, dropout: nn.Dropout):
        super().__init__()
        self.heads, self.n_empty, self.dropout = heads, empty, dropout
        self.empty = nn.ParameterList(torch.randn(empty, width) for _ in range(2))
        self.affinity = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(2))
        self.change = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(2))

    def forward(self, pair: list[Sequence]) -> list[Sequence]:
        vectors, masks, heads = [], [], []
        for one, empty, affinity in zip(pair, self.empty, self.affinity, strict=True):
            n, places, _ = one.vectors.shape
            vectors.append(torch.cat([empty.expand(n, -1, -1), one.vectors], 1))
            mask = one.vectors.new_ones(n, places, dtype=torch.bool) if one.mask is None else one.mask
            masks.append(functional.pad(mask, (self.n_empty, 0), value=True))
            heads.append(affinity(vectors[-1]).unflatten(2, (self.heads, -1)).transpose(1, 2))
        scores = heads[0] @ heads[1].transpose(2, 3) / heads[0].shape[-1] ** 0.5
        found = []
        for one, other, mask, score, change in zip(
            pair, vectors[::-1], masks[::-1], (scores, scores.transpose(2, 3)), self.change, strict=True
        ):
            weights = score.masked_fill(~mask[:, None, None], torch.finfo(score.dtype).min).softmax(3).mean(1)
            attended = (weights @ other)[:, self.n_empty :]
            y = functional.relu(change(torch.cat([one.vectors, attended], 2)))
            found.append(Sequence(one.vectors + self.dropout(y), one.mask))
        return found


class Summary(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.hidden, self.scores = nn.Linear(width, width), nn.Linear(width, heads)

    def forward(self, one: Sequence) -> Tensor:
        scores = self.scores(functional.relu(self.hidden(one.vectors))).transpose(1, 2)
        if one.mask is not None:
            scores = scores.masked_fill(~one.mask[:, None], torch.finfo(scores.dtype).min)
        return (scores.softmax(2).mean(1)[:, None] @ one.vectors)[:, 0]


class CoAttention(Joint):
    """Returns (logits, None)."""

    def __init__(self, config: Config, n_outputs: int, fitted: dict[str, Tensor], places: tuple[int, int]):
        super().__init__(config)
        joint = self.joint
        width, heads = joint.width, joint.heads
        self.to_width = nn.ModuleList(nn.Linear(d, width) for d in self.widths)
        self.layers = nn.ModuleList(
            CoAttentionLayer(width, heads, joint.empty, self.dropout) for _ in range(joint.depth)
        )
        self.summaries = nn.ModuleList(Summary(width, heads) for _ in range(2))
        self.dense, self.output = nn.Linear(2 * width, width), Output(config, width, n_outputs, fitted)

    def forward(self, mel: Tensor, lyrics: Tensor) -> tuple[Tensor, None]:
        pair = [
            Sequence(dense(one.vectors), one.mask)
            for dense, one in zip(self.to_width, self.encode(mel, lyrics), strict=True)
        ]
        for layer in self.layers:
            pair = layer(pair)
        vector = torch.cat([summary(one) for summary, one in zip(self.summaries, pair, strict=True)], 1)
        return self.output(functional.relu(self.dense(vector))), None


NETWORKS = {"joint_cross_attention": CrossAttention, "joint_coattention": CoAttention}
