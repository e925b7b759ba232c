"""Our networks in PyTorch, without the normalisation of outputs, which belongs to the loss.

The audio CNNs pool before the ReLU, which gives the same result and costs less.  The image networks have the published
module names, so that they load those state dicts; dropout is at the same places as in ours: before the last layer, in
AlexNet before both hidden ones.
"""

# pyright: reportMissingImports=false
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mumu_jax.config import Config
from mumu_jax.models.alexnet import CONVOLUTIONS
from mumu_jax.models.cnn import variant_of
from mumu_jax.models.densenet import BLOCKS_201
from mumu_jax.models.resnet import DEPTHS

BAND_BINS = 8

# --- audio ------------------------------------------------------------------------------------------------------


class CNN(nn.Module):
    """A network of `mumu_jax.models.cnn` on standardised patches [items, frames, bins]."""

    def __init__(self, config: Config, n_outputs: int, first: str = "conv"):
        super().__init__()
        self.variant, self.first = variant_of(config.model), first
        self.dropout = nn.Dropout(config.model.dropout)
        channels = (1, *self.variant.filters)
        self.convs = nn.ModuleList(
            nn.Conv2d(channels[i], channels[i + 1], kernel, padding=self.variant.padding)
            for i, kernel in enumerate(self.variant.kernels)
        )
        with torch.no_grad():
            last = self.blocks(torch.zeros(1, config.audio.patch_frames, config.audio.n_bins))
        self.dense = nn.Linear(last.numel(), n_outputs)

    def forward(self, patches: Tensor) -> Tensor:
        return self.dense(self.blocks(patches).permute(0, 2, 3, 1).flatten(1))  # frames, bins, channels: as ours

    def blocks(self, patches: Tensor) -> Tensor:
        """Return [items, channels, frames, bins] after the last block."""
        x = patches[:, None]
        for i, (conv, pool) in enumerate(zip(self.convs, self.variant.pools, strict=True)):
            if i == 0 and self.first == "banded":
                x = _pooled_bands(x[:, 0], conv, pool)
            else:
                x = functional.max_pool2d(conv(x), pool)
            x = self.dropout(functional.relu(x))
        return x


def has_bands(config: Config) -> bool:
    """Return True if the first kernel is tall enough for the banded form."""
    return variant_of(config.model).kernels[0][1] > config.audio.n_bins / 2


def _pooled_bands(x: Tensor, conv: Any, pool: tuple[int, int]) -> Tensor:
    """Compute the first convolution and its pool with banded matrices, as `models/kernels/formulations.py` does."""
    kernel = conv.weight[:, 0].permute(1, 2, 0)  # [kt, kf, c]
    kt, kf, channels = kernel.shape
    n_frames = (x.shape[1] - kt + 1) // pool[0] * pool[0]
    n_bins = (x.shape[2] - kf + 1) // pool[1] * pool[1]
    band = BAND_BINS if n_bins % BAND_BINS == 0 else n_bins
    span = band + kf - 1
    padded = functional.pad(kernel, (0, 0, 0, span + 1 - kf))
    skewed = padded[:, None].expand(kt, band, span + 1, channels).reshape(kt, -1, channels)[:, : band * span]
    matrix = skewed.reshape(kt, band, span, channels).transpose(1, 2).reshape(kt * span, band * channels)
    pooled = []
    for low in range(0, n_bins, band):
        rows = torch.cat([x[:, i : i + n_frames, low : low + span] for i in range(kt)], dim=2)
        y = (rows @ matrix).reshape(len(x), n_frames, band, channels).permute(0, 3, 1, 2)
        pooled.append(functional.max_pool2d(y, pool))
    return torch.cat(pooled, dim=3) + conv.bias[:, None, None]


# --- text -------------------------------------------------------------------------------------------------------


class MLP(nn.Module):
    """A network of `mumu_jax.models.mlp` on dense rows [items, terms]; `transposed` keeps weights as ours."""

    def __init__(self, n_terms: int, n_outputs: int, widths: Sequence[int], dropout: float, transposed: bool = False):
        super().__init__()
        layer, self.dropout = _Transposed if transposed else nn.Linear, nn.Dropout(dropout)
        self.hidden = nn.ModuleList(layer(n, width) for n, width in zip((n_terms, *widths), widths, strict=False))
        self.dense = nn.Linear(widths[-1], n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.hidden:
            x = self.dropout(functional.relu(layer(x)))
        return self.dense(x)


class _Transposed(nn.Linear):
    """A linear layer whose weight is stored as [inputs, outputs]."""

    def __init__(self, n_inputs: int, n_outputs: int):
        super().__init__(n_inputs, n_outputs)
        self.weight = nn.Parameter(self.weight.detach().T.contiguous())

    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(self.bias, x, self.weight)


# --- images -----------------------------------------------------------------------------------------------------


class Block(nn.Module):
    """A block of a residual network; the stride of a bottleneck is in its 3×3 convolution."""

    def __init__(self, cin: int, width: int, stride: int, bottleneck: bool):
        super().__init__()
        cout = 4 * width if bottleneck else width
        sizes, strides = ((1, 3, 1), (1, stride, 1)) if bottleneck else ((3, 3), (stride, 1))
        channels = (cin, *[width] * (len(sizes) - 1), cout)
        self.n_layers = len(sizes)
        for i, (size, step) in enumerate(zip(sizes, strides, strict=True)):
            conv = nn.Conv2d(channels[i], channels[i + 1], size, step, size // 2, bias=False)
            self.add_module(f"conv{i + 1}", conv)
            self.add_module(f"bn{i + 1}", nn.BatchNorm2d(channels[i + 1]))
        self.downsample = nn.Sequential()
        if stride > 1 or cin != cout:
            self.downsample.extend([nn.Conv2d(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout)])

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for i in range(1, self.n_layers + 1):
            y = self.get_submodule(f"bn{i}")(self.get_submodule(f"conv{i}")(y))
            y = functional.relu(y, inplace=True) if i < self.n_layers else y
        return functional.relu(y + self.downsample(x), inplace=True)


class ResNet(nn.Module):
    def __init__(self, blocks: tuple[int, ...], bottleneck: bool, n_outputs: int = 1000, dropout: float = 0.0):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        cin = 64
        for stage, n_blocks in enumerate(blocks):
            layer = nn.Sequential()
            for i in range(n_blocks):
                layer.append(Block(cin, 64 * 2**stage, 2 if stage and not i else 1, bottleneck))
                cin = 64 * 2**stage * (4 if bottleneck else 1)
            self.add_module(f"layer{stage + 1}", layer)
        self.dropout, self.fc = nn.Dropout(dropout), nn.Linear(cin, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(functional.relu(self.bn1(self.conv1(x)), inplace=True), 3, 2, 1)
        for stage in range(1, 5):
            x = self.get_submodule(f"layer{stage}")(x)
        return self.fc(self.dropout(x.mean((2, 3))))


def _norm_relu_conv(i: int | str, cin: int, cout: int, size: int) -> list[tuple[str, nn.Module]]:
    conv = nn.Conv2d(cin, cout, size, padding=size // 2, bias=False)
    return [(f"norm{i}", nn.BatchNorm2d(cin)), (f"relu{i}", nn.ReLU(inplace=True)), (f"conv{i}", conv)]


class DenseBlock(nn.Module):
    def __init__(self, cin: int, n_layers: int):
        super().__init__()
        for i in range(n_layers):
            parts = _norm_relu_conv(1, cin + 32 * i, 128, 1) + _norm_relu_conv(2, 128, 32, 3)
            self.add_module(f"denselayer{i + 1}", nn.Sequential(OrderedDict(parts)))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.children():
            x = torch.cat((x, layer(x)), 1)
        return x


class DenseNet(nn.Module):
    def __init__(self, n_outputs: int = 1000, dropout: float = 0.0, blocks: tuple[int, ...] = BLOCKS_201):
        super().__init__()
        parts: list[tuple[str, nn.Module]] = [("conv0", nn.Conv2d(3, 64, 7, 2, 3, bias=False))]
        parts += [("norm0", nn.BatchNorm2d(64)), ("relu0", nn.ReLU(inplace=True)), ("pool0", nn.MaxPool2d(3, 2, 1))]
        cin = 64
        for b, n_layers in enumerate(blocks, start=1):
            parts.append((f"denseblock{b}", DenseBlock(cin, n_layers)))
            cin += 32 * n_layers
            if b < len(blocks):
                transition = [*_norm_relu_conv("", cin, cin // 2, 1), ("pool", nn.AvgPool2d(2))]
                parts.append((f"transition{b}", nn.Sequential(OrderedDict(transition))))
                cin //= 2
        parts.append((f"norm{len(blocks) + 1}", nn.BatchNorm2d(cin)))
        self.features = nn.Sequential(OrderedDict(parts))
        self.dropout, self.classifier = nn.Dropout(dropout), nn.Linear(cin, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.dropout(functional.relu(self.features(x), inplace=True).mean((2, 3))))


class EncoderLayer(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.self_attention = nn.MultiheadAttention(width, 12, batch_first=True)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Identity(), nn.Linear(4 * width, width), nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.ln_1(x)
        x = x + self.self_attention(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.ln_2(x))


class Encoder(nn.Module):
    def __init__(self, n_tokens: int, width: int, depth: int):
        super().__init__()
        self.pos_embedding = nn.Parameter(torch.zeros(1, n_tokens, width))
        self.layers = nn.Sequential(OrderedDict((f"encoder_layer_{i}", EncoderLayer(width)) for i in range(depth)))
        self.ln = nn.LayerNorm(width, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Return the class token's vector, which is all that the last layer sees."""
        return self.ln(self.layers(x + self.pos_embedding)[:, 0])


class ViT(nn.Module):
    def __init__(self, n_outputs: int = 1000, dropout: float = 0.0, side: int = 224, depth: int = 12):
        super().__init__()
        width = 768
        self.conv_proj = nn.Conv2d(3, width, 16, 16)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.encoder = Encoder(1 + (side // 16) ** 2, width, depth)
        self.dropout, self.heads = nn.Dropout(dropout), nn.Sequential(OrderedDict(head=nn.Linear(width, n_outputs)))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat((self.class_token.expand(len(x), -1, -1), self.conv_proj(x).flatten(2).transpose(1, 2)), 1)
        return self.heads(self.dropout(self.encoder(x)))


class AlexNet(nn.Module):
    def __init__(self, n_outputs: int = 1000, dropout: float = 0.5):
        super().__init__()
        self.features, cin = nn.Sequential(), 3
        for features, size, stride, padding, pooled in CONVOLUTIONS.values():
            self.features.extend([nn.Conv2d(cin, features, size, stride, padding), nn.ReLU(inplace=True)])
            self.features.extend([nn.MaxPool2d(3, 2)] if pooled else [])
            cin = features
        self.classifier = nn.Sequential(
            *(nn.Dropout(dropout), nn.Linear(256 * 6 * 6, 4096), nn.ReLU(inplace=True)),
            *(nn.Dropout(dropout), nn.Linear(4096, 4096), nn.ReLU(inplace=True)),
            nn.Linear(4096, n_outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).flatten(1))


NETWORKS = {
    "densenet201": DenseNet,
    "vit_b16": ViT,
    "alexnet": AlexNet,
    **{f"resnet{depth}": partial(ResNet, *how) for depth, how in DEPTHS.items()},
}
