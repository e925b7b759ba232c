"""Our networks on mel spectrograms in PyTorch, with the names of Won et al.'s files, so that they load those.

They see log-mel patches [items, frames, bins], and put bins first, as those files' kernels do.
"""

# pyright: reportMissingImports=false, reportCallIssue=false
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from mumu_jax.models.musicnn import SIZES, WON
from mumu_jax.models.tagging import FORMS

SHORT_CHUNK_FILTERS = (128, 128, 256, 256, 256, 256, 512)


class Conv(nn.Module):
    """Convolution, norm, ReLU, max-pool (bins × frames)."""

    def __init__(self, cin: int, features: int, pool: tuple[int, int]):
        super().__init__()
        self.conv, self.bn, self.pool = nn.Conv2d(cin, features, 3, padding=1), nn.BatchNorm2d(features), pool

    def forward(self, x: Tensor) -> Tensor:
        return functional.max_pool2d(functional.relu(self.bn(self.conv(x))), self.pool)


class Residual(nn.Module):
    def __init__(self, cin: int, features: int):
        super().__init__()
        for i, (width, stride) in enumerate(((cin, 2), (features, 1), (cin, 2)), start=1):
            self.add_module(f"conv_{i}", nn.Conv2d(width, features, 3, stride, padding=1))
            self.add_module(f"bn_{i}", nn.BatchNorm2d(features))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn_2(self.conv_2(functional.relu(self.bn_1(self.conv_1(x)))))
        return functional.relu(y + self.bn_3(self.conv_3(x)))


class Tagger(nn.Module):
    """The networks of `mumu_jax.models.tagging.FORMS` that are not Choi's own."""

    def __init__(self, name: str, n_outputs: int, dropout: float = 0.5):
        super().__init__()
        form = FORMS[name]
        self.spec_bn, self.n_blocks, self.recurrent = nn.BatchNorm2d(1), len(form.filters), form.recurrent
        channels = (1, *form.filters)
        for i, (frames, bins) in enumerate(form.pools):
            self.add_module(f"layer{i + 1}", Conv(channels[i], channels[i + 1], (bins, frames)))
        if form.recurrent:
            self.layer5 = nn.GRU(channels[-1], 32, 2, batch_first=True)
        self.dropout, self.dense = nn.Dropout(dropout), nn.Linear(32 if form.recurrent else channels[-1], n_outputs)

    def forward(self, patches: Tensor) -> Tensor:
        x = self.spec_bn(patches.transpose(1, 2)[:, None])
        for i in range(self.n_blocks):
            x = getattr(self, f"layer{i + 1}")(x)
        x = self.layer5(x[:, :, 0].transpose(1, 2))[0][:, -1] if self.recurrent else x.flatten(1)
        return self.dense(self.dropout(x))


class ShortChunk(nn.Module):
    def __init__(self, residual: bool, n_outputs: int, dropout: float = 0.5):
        super().__init__()
        self.spec_bn, channels = nn.BatchNorm2d(1), (1, *SHORT_CHUNK_FILTERS)
        block = Residual if residual else partial(Conv, pool=(2, 2))
        for i in range(len(SHORT_CHUNK_FILTERS)):
            self.add_module(f"layer{i + 1}", block(channels[i], channels[i + 1]))
        width = channels[-1]
        self.dense1, self.bn = nn.Linear(width, width), nn.BatchNorm1d(width)
        self.dropout, self.dense2 = nn.Dropout(dropout), nn.Linear(width, n_outputs)

    def forward(self, patches: Tensor) -> Tensor:
        x = self.spec_bn(patches.transpose(1, 2)[:, None])
        for i in range(len(SHORT_CHUNK_FILTERS)):
            x = getattr(self, f"layer{i + 1}")(x)
        return self.dense2(self.dropout(functional.relu(self.bn(self.dense1(x.amax((2, 3)))))))


class Line(nn.Module):
    """A convolution over frames, norm and ReLU; `size` is the number of frames, or bins × frames."""

    def __init__(self, cin: int, features: int, size: int | tuple[int, int]):
        super().__init__()
        if isinstance(size, int):
            self.conv, self.bn = nn.Conv1d(cin, features, size, padding=size // 2), nn.BatchNorm1d(features)
        else:
            self.conv, self.bn = nn.Conv2d(cin, features, size, padding=(0, size[1] // 2)), nn.BatchNorm2d(features)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.bn(self.conv(x)))
        return x.amax(2) if x.ndim == 4 else x


class Musicnn(nn.Module):
    """Won's form of musicnn."""

    def __init__(self, size: str, n_outputs: int, dropout: float = 0.5):
        super().__init__()
        filters, width = SIZES[size]
        self.spec_bn = nn.BatchNorm2d(1)
        self.layers = nn.ModuleList(
            [*(Line(1, 204, (bins, 7)) for bins in WON.timbral), *(Line(1, 51, frames) for frames in WON.temporal)]
        )
        self.layer1, self.layer2, self.layer3 = (Line(cin, filters, 7) for cin in (561, filters, filters))
        self.dense1, self.bn = nn.Linear(2 * (561 + 3 * filters), width), nn.BatchNorm1d(width)
        self.dropout, self.dense2 = nn.Dropout(dropout), nn.Linear(width, n_outputs)

    def forward(self, patches: Tensor) -> Tensor:
        x = self.spec_bn(patches.transpose(1, 2)[:, None])
        front = torch.cat([layer(x if i < 2 else x.mean(2)) for i, layer in enumerate(self.layers)], 1)
        one = self.layer1(front)
        two = self.layer2(one) + one
        three = self.layer3(two) + two
        x = torch.cat([front, one, two, three], 1)
        x = torch.cat([x.amax(2), x.mean(2)], 1)
        return self.dense2(self.dropout(functional.relu(self.bn(self.dense1(x)))))


NETWORKS = {
    "fcn": partial(Tagger, "fcn"),
    "crnn": partial(Tagger, "crnn"),
    "short_chunk": partial(ShortChunk, False),
    "short_chunk_residual": partial(ShortChunk, True),
    "musicnn_won": partial(Musicnn, "low"),
    "musicnn_won_big": partial(Musicnn, "high"),
}
