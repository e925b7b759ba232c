"""Training in PyTorch, as fast as PyTorch can: the peer of `benchmarks.train_step` and `text_step`.

The network, loss, optimizer and batches are the same.  Ways to run it are tried one after the other, and the fastest is
measured.  The audio CNNs pool before the ReLU, which gives the same result and costs less.
"""

# pyright: reportMissingImports=false
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks import flops, timing, torch_networks
from mumu_jax.batch import Batch
from mumu_jax.config import Config, OptimSettings
from mumu_jax.models import mlp
from mumu_jax.models.cnn import VARIANTS, WIDTHS
from mumu_jax.models.pretrained import name_of
from mumu_jax.objectives.objective import Constants

BAND_BINS = 8


class Way(NamedTuple):
    """A way to run a step."""

    layout: str = "contiguous"
    first: str = "conv"  # or "banded": the first layer as a product; of a text "linear" or "transposed"
    how: str = "eager"

    def __str__(self) -> str:
        return ", ".join(self)


LAYOUTS = ("contiguous", "channels-last")
HOWS = {
    "cpu": ("eager", "compile"),
    "cuda": ("eager", "compile", "reduce-overhead", "max-autotune", "graph", "compile+graph"),
}


class CNN(nn.Module):
    """A network of `mumu_jax.models.cnn` on standardised patches [items, frames, bins]."""

    def __init__(self, config: Config, n_outputs: int, first: str = "conv"):
        super().__init__()
        self.variant, filters = VARIANTS[config.model.kernel, config.model.width], WIDTHS[config.model.width]
        self.first, self.unit_output = first, config.target.kind == "cosine"
        self.dropout = nn.Dropout(config.model.dropout)
        padding = "same" if self.variant.padding == "same" else 0
        channels = (1, *filters)
        self.convs = nn.ModuleList(
            nn.Conv2d(channels[i], width, self.variant.kernels[i], padding=padding) for i, width in enumerate(filters)
        )
        self.dense = nn.Linear(flops.embedding_width(config), n_outputs)

    def forward(self, patches: Tensor) -> Tensor:
        output = self.dense(self.blocks(patches).permute(0, 2, 3, 1).flatten(1))  # frames, bins, channels: as ours
        return functional.normalize(output.float(), dim=1) if self.unit_output else output.float()

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

    def load(self, params: Any) -> "CNN":
        """Take over our parameters (NumPy or JAX arrays)."""
        with torch.no_grad():
            for i, conv in enumerate(self.convs):
                assert isinstance(conv, nn.Conv2d)
                assert conv.bias is not None
                conv.weight.copy_(torch.tensor(np.transpose(params[f"conv{i}_kernel"], (3, 2, 0, 1))))
                conv.bias.copy_(torch.tensor(np.asarray(params[f"conv{i}_bias"])))
            self.dense.weight.copy_(torch.tensor(np.transpose(params["output"]["dense"]["kernel"])))
            self.dense.bias.copy_(torch.tensor(np.asarray(params["output"]["dense"]["bias"])))
        return self


class MLP(nn.Module):
    """A network of `mumu_jax.models.mlp` on dense rows [items, terms]; `transposed` keeps weights as ours."""

    def __init__(
        self, n_terms: int, n_outputs: int, unit_output: bool, widths: Sequence[int], dropout: float, transposed=False
    ):
        super().__init__()
        self.unit_output, self.dropout = unit_output, nn.Dropout(dropout)
        layer = _Transposed if transposed else nn.Linear
        self.hidden = nn.ModuleList(layer(n, width) for n, width in zip((n_terms, *widths), widths, strict=False))
        self.dense = nn.Linear(widths[-1], n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.hidden:
            x = self.dropout(functional.relu(layer(x)))
        output = self.dense(x)
        return functional.normalize(output.float(), dim=1) if self.unit_output else output.float()

    def load(self, params: Any) -> "MLP":
        """Take over our parameters (NumPy or JAX arrays)."""
        ours = [(params[f"hidden{i}_kernel"], params[f"hidden{i}_bias"]) for i in range(len(self.hidden))]
        ours.append((params["output"]["dense"]["kernel"], params["output"]["dense"]["bias"]))
        with torch.no_grad():
            for layer, (kernel, bias) in zip((*self.hidden, self.dense), ours, strict=True):
                weight = layer.weight.T if isinstance(layer, _Transposed) else layer.weight
                weight.copy_(torch.tensor(np.transpose(kernel)))  # type: ignore[operator]
                layer.bias.copy_(torch.tensor(np.asarray(bias)))  # type: ignore[operator]
        return self


class _Transposed(nn.Linear):
    """A linear layer whose weight is stored as [inputs, outputs]."""

    def __init__(self, n_inputs: int, n_outputs: int):
        super().__init__(n_inputs, n_outputs)
        self.weight = nn.Parameter(self.weight.detach().T.contiguous())

    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(self.bias, x, self.weight)


def has_bands(config: Config) -> bool:
    """Return True if the first kernel is tall enough for the banded form."""
    return VARIANTS[config.model.kernel, config.model.width].kernels[0][1] > config.audio.n_bins / 2


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


def mean_loss(kind: str, output: Tensor, labels: Tensor, factors: Tensor) -> Tensor:
    """Return the training loss of `mumu_jax.objectives.objective` for a batch without padding."""
    hot, output = labels.float(), output.float()
    if kind == "softmax":
        return functional.cross_entropy(output, hot)
    if kind == "logistic":
        return functional.binary_cross_entropy_with_logits(output, hot)
    target = hot @ factors
    weight = (target.square().sum(1) > 0).float()
    loss = (1 - (output * functional.normalize(target, dim=1)).sum(1)) / 2
    return (loss * weight).sum() / weight.sum().clamp(min=1)


def make_optimizer(settings: OptimSettings, parameters: Any, capturable: bool) -> torch.optim.Optimizer:
    """Return the optimizer of `mumu_jax.compute.optim`, without its schedule."""
    if settings.algorithm == "sgd":
        rest = {"momentum": settings.momentum, "nesterov": True, "weight_decay": settings.weight_decay}
        return torch.optim.SGD(parameters, settings.learning_rate, fused=True, **rest)
    rest = {"betas": (settings.b1, settings.b2), "eps": settings.eps, "fused": True, "capturable": capturable}
    if settings.algorithm == "adamw":
        return torch.optim.AdamW(parameters, settings.learning_rate, weight_decay=settings.weight_decay, **rest)
    return torch.optim.Adam(parameters, settings.learning_rate, **rest)


class Peer:
    """Training steps on batches on the device, run in the fastest way.

    `chunk` is [steps, items, …].  `tried` has the seconds of a step in each way, or the reason why it does not work.
    """

    def __init__(self, config: Config, constants: Constants, chunk: Batch, precision: str, seconds: float):
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.backends.cudnn.benchmark = True
        # float32 means float32, as in ours.
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        self._config, self._bf16 = config, precision == "bfloat16"
        self._n_outputs = constants.label_factors.shape[1] or chunk.labels.shape[-1]
        self._constants = [self._put(array) for array in (constants.mean, constants.std, constants.label_factors)]
        self._batches = [(self._ready(x), self._put(y)) for x, y in zip(chunk.inputs, chunk.labels, strict=True)]
        self.tried: dict[str, float | str] = {}
        self.way = self._fastest(seconds)
        self._step = self._make_step(self.way)
        self._taken = 0
        self.run(3)

    def run(self, n_steps: int) -> None:
        """Train so many steps, to the end."""
        for _ in range(n_steps):
            self._step(*self._batches[self._taken % len(self._batches)])
            self._taken += 1
        self._wait()

    def side(self, batch_size: int, seconds: float) -> Callable[[], float]:
        """Return examples a second as a side for `timing.take_turns`."""
        n_steps = timing.calls_within(seconds, lambda: self.run(1))
        return lambda: timing.rate(lambda: self.run(n_steps), n_steps * batch_size)

    def columns(self) -> dict[str, Any]:
        """Return what a row says about the peer beside its rate."""
        return {"peer": "torch", "peer_way": str(self.way), "peer_tried": self.tried}

    def _fastest(self, seconds: float) -> Way:
        """Improve one choice at a time, all of them twice, because the last may change the order of the others."""
        choices_of = self._choices()
        best, seconds_of = Way(*(choices[0] for choices in choices_of.values())), {}
        for field, choices in list(choices_of.items()) * 2:
            for choice in choices:
                way = best._replace(**{field: choice})
                if way not in seconds_of:
                    seconds_of[way] = self._try(way, seconds)
            best = min(seconds_of, key=lambda way: seconds_of[way])
        return best

    def _try(self, way: Way, seconds: float) -> float:
        """Return the seconds of a step, the shortest of three measurements; inf if this way does not work."""
        try:
            self._step, self._taken = self._make_step(way), 0
            self.run(2)
            start = time.perf_counter()
            self.run(1)
            n_steps = max(1, round(seconds / 3 / (time.perf_counter() - start)))
            measured = []
            for _ in range(3):
                start = time.perf_counter()
                self.run(n_steps)
                measured.append((time.perf_counter() - start) / n_steps)
            self.tried[str(way)] = min(measured)
            return min(measured)
        except Exception as error:  # of any kind: this machine lacks some compilers and kernels
            self.tried[str(way)] = (str(error).strip().splitlines() or [repr(error)])[0]
            return float("inf")

    def _choices(self) -> dict[str, tuple[str, ...]]:
        """Return the choices for each field of a way, in their order; the first of each is the plain one."""
        firsts = ("conv", "banded") if has_bands(self._config) else ("conv",)
        return {"layout": LAYOUTS, "first": firsts, "how": HOWS[self.device.type]}

    def _model(self, first: str) -> nn.Module:
        return CNN(self._config, self._n_outputs, first)

    def _make_step(self, way: Way) -> Any:
        """Return a function of (inputs, labels) that takes one step."""
        self._step: Any = None  # free the memory of the way before
        torch._dynamo.reset()
        torch.cuda.empty_cache()
        kind, bf16, factors = self._config.target.kind, self._bf16, self._constants[2]
        torch.manual_seed(0)
        model = self._model(way.first).to(self.device).train()
        if way.layout == "channels-last":
            model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

        def loss_of(inputs: Tensor, labels: Tensor) -> Tensor:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16, cache_enabled=False):
                return mean_loss(kind, model(self._see(inputs)), labels, factors)

        graph = way.how.endswith("graph")
        optimizer = make_optimizer(self._config.optim, model.parameters(), capturable=graph)
        if way.how not in ("eager", "graph"):
            mode = way.how if way.how in ("reduce-overhead", "max-autotune") else None
            loss_of = torch.compile(loss_of, mode=mode)

        def step(inputs: Tensor, labels: Tensor) -> None:
            optimizer.zero_grad(set_to_none=True)
            loss_of(inputs, labels).backward()
            optimizer.step()

        return self._captured(step) if graph else step

    def _captured(self, step: Any) -> Any:
        """Capture the whole step, optimizer included, as one CUDA graph."""
        inputs, labels = (array.clone() for array in self._batches[0])
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                step(inputs, labels)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step(inputs, labels)

        def replay(new_inputs: Tensor, new_labels: Tensor) -> None:
            inputs.copy_(new_inputs)
            labels.copy_(new_labels)
            graph.replay()

        return replay

    def _ready(self, inputs: Any) -> Tensor:
        """Return a batch's inputs as they are stored on the device."""
        return self._put(inputs)

    def _see(self, inputs: Tensor) -> Tensor:
        """Return the network's input; part of the step."""
        mean, std, _ = self._constants
        return (inputs.float() - mean) / std

    def _put(self, array: Any) -> Tensor:
        return torch.tensor(np.asarray(array)).to(self.device)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


class TextPeer(Peer):
    """A peer of the text network, on dense rows."""

    def _choices(self) -> dict[str, tuple[str, ...]]:
        return {"layout": LAYOUTS[:1], "first": ("linear", "transposed"), "how": HOWS[self.device.type]}

    def _model(self, first: str) -> nn.Module:
        n_terms, unit_output = self._batches[0][0].shape[1], self._config.target.kind == "cosine"
        dropout = self._config.model.dropout
        return MLP(n_terms, self._n_outputs, unit_output, mlp.MLP.widths, dropout, first == "transposed")


class ImagePeer(Peer):
    """A peer of image networks, on ready views: it is spared the augmentation, and in bfloat16 their cast.

    On a CPU nothing is compiled: ResNet-101 would take two minutes, and its steps are no faster.  `max-autotune` is
    not tried either, which would tune each of a hundred convolutions.
    """

    def _choices(self) -> dict[str, tuple[str, ...]]:
        hows = tuple(how for how in HOWS["cuda"] if how != "max-autotune") if self.device.type == "cuda" else ("eager",)
        return {"layout": LAYOUTS, "first": ("ready views",), "how": hows}

    def _model(self, first: str) -> nn.Module:
        return image_network(self._config, self._n_outputs)

    def _make_step(self, way: Way) -> Any:
        layout = torch.channels_last if way.layout == "channels-last" else torch.contiguous_format
        self._batches = [(x.contiguous(memory_format=layout), y) for x, y in self._batches]
        return super()._make_step(way)

    def _ready(self, inputs: Any) -> Tensor:
        """Return standardised centre views, [items, channels, height, width]."""
        mean, std, _ = self._constants
        low, size = (self._config.image.side_px - self._config.augment.size_px) // 2, self._config.augment.size_px
        pixels = self._put(inputs[:, low : low + size, low : low + size])
        views = ((pixels / 255 - mean) / std).permute(0, 3, 1, 2)
        return views.to(torch.bfloat16 if self._bf16 else torch.float32)

    def _see(self, inputs: Tensor) -> Tensor:
        return inputs


def image_network(config: Config, n_outputs: int) -> nn.Module:
    """Return the network of `torch_networks` that the config describes."""
    network = torch_networks.NETWORKS[name_of(config.model)](n_outputs=n_outputs, dropout=config.model.dropout)
    return nn.Sequential(network, _Unit()) if config.target.kind == "cosine" else network


class _Unit(nn.Module):
    def forward(self, output: Tensor) -> Tensor:
        return functional.normalize(output.float(), dim=1)


PEERS = {"audio": Peer, "image": ImagePeer}
