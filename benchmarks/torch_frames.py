"""The networks on mel spectrograms that were not published for PyTorch, written in it, with our names of layers.

They see log-mel patches [items, frames, bins] as images of one channel, frames × bins, as ours do.
"""

# pyright: reportMissingImports=false, reportCallIssue=false
from functools import partial
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional

from mumu_jax.models import vgg
from mumu_jax.models.musicnn import PONS, SIZES, TEMPORAL_FILTERS, TIMBRAL_FILTERS, TIMBRAL_FRAMES
from mumu_jax.models.tagging import FORMS, RECURRENT_WIDTH

Norm1, Norm2 = (partial(norm, eps=vgg.EPSILON, momentum=vgg.MOMENTUM) for norm in (nn.BatchNorm1d, nn.BatchNorm2d))


class VGG(nn.Module):
    def __init__(self, n_outputs: int, patch: tuple[int, int], dropout: float = 0.5):
        super().__init__()
        self.input_bn, self.rate = Norm2(1), dropout
        for i in range(1, len(vgg.POOLS) + 1):
            self.add_module(f"conv{i}", nn.Conv2d(vgg.FILTERS if i > 1 else 1, vgg.FILTERS, 3, padding=1))
            self.add_module(f"bn{i}", Norm2(vgg.FILTERS))
        frames, bins = patch
        for (t, f), (t_step, f_step) in vgg.POOLS:
            frames, bins = (frames - t) // t_step + 1, (bins - f) // f_step + 1
        self.output = nn.Linear(vgg.FILTERS * frames * bins, n_outputs)

    def forward(self, patches: Tensor) -> Tensor:
        x = self.input_bn(patches[:, None])
        for i, (window, strides) in enumerate(vgg.POOLS, start=1):
            x = getattr(self, f"bn{i}")(functional.relu(getattr(self, f"conv{i}")(x)))
            x = functional.dropout(functional.max_pool2d(x, window, strides), self.rate / 2, self.training)
        x = x.permute(0, 2, 3, 1).flatten(1)
        return self.output(functional.dropout(x, self.rate, self.training))


class Line(nn.Module):
    """A convolution along frames, ReLU, norm, and the largest value over bins."""

    def __init__(self, cin: int, features: int, frames: int, bins: int = 0):
        super().__init__()
        pads = ((frames - 1) // 2, frames // 2)
        self.pad = nn.ZeroPad2d((0, 0, *pads)) if bins else nn.ZeroPad1d(pads)
        self.conv = nn.Conv2d(cin, features, (frames, bins)) if bins else nn.Conv1d(cin, features, frames)
        self.bn = (Norm2 if bins else Norm1)(features)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(functional.relu(self.conv(self.pad(x))))
        return x.amax(3) if x.ndim == 4 else x


class Musicnn(nn.Module):
    """Pons's form of musicnn."""

    def __init__(self, size: str, n_outputs: int, patch: tuple[int, int], dropout: float = 0.5):
        super().__init__()
        del patch  # any number of frames
        filters, width = SIZES[size]
        self.input_bn = Norm2(1)
        timbral = {f"timbral_{bins}": Line(1, TIMBRAL_FILTERS, TIMBRAL_FRAMES, bins) for bins in PONS.timbral}
        temporal = {f"temporal_{frames}": Line(1, TEMPORAL_FILTERS, frames, 1) for frames in PONS.temporal}
        self.front = nn.ModuleDict(timbral | temporal)
        n_front = len(timbral) * TIMBRAL_FILTERS + len(temporal) * TEMPORAL_FILTERS
        self.cnn1, self.cnn2, self.cnn3 = (Line(cin, filters, 7) for cin in (n_front, filters, filters))
        n_pooled = 2 * (n_front + 3 * filters)
        self.pool_bn, self.dense = Norm1(n_pooled), nn.Linear(n_pooled, width)
        self.dense_bn, self.output = Norm1(width), nn.Linear(width, n_outputs)
        self.dropout = nn.Dropout(dropout)

    def forward(self, patches: Tensor) -> Tensor:
        x = self.input_bn(patches[:, None])
        front = torch.cat([layer(x) for layer in self.front.values()], 1)
        one = self.cnn1(front)
        two = self.cnn2(one) + one
        three = self.cnn3(two) + two
        x = torch.cat([front, one, two, three], 1)
        x = torch.stack([x.amax(2), x.mean(2)], 2).flatten(1)
        x = self.dense_bn(functional.relu(self.dense(self.dropout(self.pool_bn(x)))))
        return self.output(self.dropout(x))


class KerasGRU(nn.Module):
    """Keras 1's recurrent layer, which PyTorch has not: it multiplies the state by the reset gate before the product.

    Returns the state after each frame.
    """

    def __init__(self, cin: int):
        super().__init__()
        self.input = nn.Linear(cin, 3 * RECURRENT_WIDTH)
        self.gates = nn.Linear(RECURRENT_WIDTH, 2 * RECURRENT_WIDTH, bias=False)
        self.new = nn.Linear(RECURRENT_WIDTH, RECURRENT_WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        state, states = x.new_zeros(len(x), RECURRENT_WIDTH), []
        for frame in self.input(x).unbind(1):
            of_gates, of_new = frame.split((2 * RECURRENT_WIDTH, RECURRENT_WIDTH), 1)
            reset, update = (0.2 * (of_gates + self.gates(state)) + 0.5).clamp(0, 1).chunk(2, 1)
            state = update * state + (1 - update) * torch.tanh(of_new + self.new(reset * state))
            states.append(state)
        return torch.stack(states, 1)


class Choi(nn.Module):
    """Choi's own networks of 2017."""

    def __init__(self, name: str, n_outputs: int, patch: tuple[int, int], dropout: float = 0.3):
        super().__init__()
        form, (frames, _) = FORMS[name], patch
        self.pools, self.recurrent = form.pools, form.recurrent
        missing = -frames % prod(t for t, _ in form.pools) if form.recurrent else 0
        self.pad = nn.ZeroPad1d((missing // 2, missing - missing // 2))
        self.input_bn = nn.BatchNorm1d(frames + missing)
        channels = (1, *form.filters)
        for i, (cin, features) in enumerate(zip(channels, form.filters, strict=False), start=1):
            self.add_module(f"conv{i}", nn.Conv2d(cin, features, 3, padding=1))
            self.add_module(f"bn{i}", nn.BatchNorm2d(features))
        if form.recurrent:
            self.gru0, self.gru1 = KerasGRU(channels[-1]), KerasGRU(RECURRENT_WIDTH)
        self.block_dropout = nn.Dropout(dropout / 3 if form.recurrent else 0.0)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(RECURRENT_WIDTH if form.recurrent else channels[-1], n_outputs)

    def forward(self, patches: Tensor) -> Tensor:
        x = self.input_bn(self.pad(patches.transpose(1, 2)).transpose(1, 2))[:, None]
        for i, pool in enumerate(self.pools, start=1):
            x = functional.elu(getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(x)))
            x = self.block_dropout(functional.max_pool2d(x, pool))
        if self.recurrent:
            x = self.gru1(self.gru0(x.transpose(1, 2).flatten(2)))[:, -1]
        else:
            x = x.amax((2, 3))
        return self.output(self.dropout(x))


NETWORKS = {
    "musicnn": partial(Musicnn, "low"),
    "musicnn_big": partial(Musicnn, "high"),
    "vgg": VGG,
    "cnn_choi": partial(Choi, "cnn_choi"),
    "crnn_choi": partial(Choi, "crnn_choi"),
}
