"""Training in PyTorch, as fast as PyTorch can: the peer of `benchmarks.train_step` and `text_step`.

The network, loss, optimizer and batches are the same.  Ways to run it are tried one after the other, and the fastest is
measured.
"""

# pyright: reportMissingImports=false
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks import timing, torch_bert, torch_frames, torch_joint, torch_tagging
from benchmarks.made_up_batches import Problem
from benchmarks.torch_networks import CNN, MLP, NETWORKS, has_bands
from mumu_jax.batch import Batch
from mumu_jax.compression import Compression
from mumu_jax.config import OptimSettings
from mumu_jax.errors import UserError, reason_of
from mumu_jax.models import mlp
from mumu_jax.models.joint.encoders import FILTERS
from mumu_jax.models.pretrained import name_of
from mumu_jax.objectives import Objective
from mumu_jax.objectives.cosine import Cosine
from mumu_jax.objectives.logits import Logistic, Softmax


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


def _cosine_loss(output: Tensor, labels: Tensor, fitted: Mapping[str, Tensor]) -> Tensor:
    target = labels @ fitted["label_factors"]
    weight = (target.square().sum(1) > 0).float()
    loss = (1 - (functional.normalize(output, dim=1) * functional.normalize(target, dim=1)).sum(1)) / 2
    return (loss * weight).sum() / weight.sum().clamp(min=1)


# Each objective's mean loss of a batch without padding, from outputs, multi-hot labels and fitted arrays.
LOSSES: dict[type[Objective], Callable[[Tensor, Tensor, Mapping[str, Tensor]], Tensor]] = {
    Cosine: _cosine_loss,
    Logistic: lambda output, labels, fitted: functional.binary_cross_entropy_with_logits(output, labels),
    Softmax: lambda output, labels, fitted: functional.cross_entropy(output, labels),
}


def loss_of(objective: Objective) -> Callable[[Tensor, Tensor, Mapping[str, Tensor]], Tensor]:
    """Return the objective's row of LOSSES; raises UserError if it has none."""
    if type(objective) not in LOSSES:
        known = ", ".join(known.__name__ for known in LOSSES)
        raise UserError(
            f"PyTorch's peer has no loss for {type(objective).__name__}, only for {known}; add it to LOSSES in "
            "benchmarks/torch_peer.py, or leave --peer out"
        )
    return LOSSES[type(objective)]


def make_optimizer(settings: OptimSettings, parameters: Any, capturable: bool) -> torch.optim.Optimizer:
    """Return the optimizer of `mumu_jax.compute.optim`, without its schedule."""
    if settings.algorithm == "sgd":
        rest = {"momentum": settings.momentum, "nesterov": True, "weight_decay": settings.weight_decay}
        return torch.optim.SGD(parameters, settings.learning_rate, fused=True, **rest)
    adam = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[settings.algorithm]
    rest = {"betas": (settings.b1, settings.b2), "eps": settings.eps, "fused": True, "capturable": capturable}
    return adam(parameters, settings.learning_rate, weight_decay=settings.weight_decay, **rest)


class Peer:
    """Training steps on batches on the device, run in the fastest of `ways`, or of all that a search comes to.

    `chunk` is [steps, items, …], and dense.  `tried` has the seconds of a step in each way, or the reason why it does
    not work.
    """

    def __init__(self, problem: Problem, chunk: Batch, seconds: float, ways: Sequence[Way] = ()):
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.backends.cudnn.benchmark = True
        # float32 means float32, as in ours.
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        self._config, self._bf16 = problem.config, problem.config.model.precision == "bfloat16"
        self._n_outputs, self._loss = problem.network.model.n_outputs, loss_of(problem.network.objective)
        constants, first = problem.constants, problem.config.inputs[0]
        self._mean, self._std = self._put(constants.inputs[first].mean), self._put(constants.inputs[first].std)
        self._fitted = {name: self._put(array) for name, array in constants.fitted.items()}
        inputs = (chunk.inputs[name] for name in problem.config.inputs)
        self._batches = [
            (self._ready(batch), *map(self._put, rest)) for batch, *rest in zip(*inputs, chunk.labels, strict=True)
        ]
        self.tried: dict[str, float | str] = {}
        self.way = min(ways, key=lambda way: self._try(way, seconds)) if ways else self._fastest(seconds)
        self._step = self._make_step(self.way)
        self._taken = 0
        self.run(3)

    def run(self, n_steps: int) -> None:
        """Train so many steps, to the end."""
        for _ in range(n_steps):
            self._step(*self._batches[self._taken % len(self._batches)])
            self._taken += 1
        if self.device.type == "cuda":
            torch.cuda.synchronize()

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
            n_steps = timing.calls_within(seconds / 3, lambda: self.run(1))
            shortest = min(1 / timing.rate(lambda: self.run(n_steps), n_steps) for _ in range(3))
            self.tried[str(way)] = shortest
            return shortest
        except Exception as error:  # of any kind: this machine lacks some compilers and kernels
            self.tried[str(way)] = reason_of(error)
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
        torch.manual_seed(0)
        model = self._model(way.first).to(self.device).train()
        if way.layout == "channels-last":
            model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

        def batch_loss(*batch: Tensor) -> Tensor:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self._bf16, cache_enabled=False):
                return self._batch_loss(model, *batch)

        graph = way.how.endswith("graph")
        optimizer = make_optimizer(self._config.optim, model.parameters(), capturable=graph)
        if way.how not in ("eager", "graph"):
            mode = way.how if way.how in ("reduce-overhead", "max-autotune") else None
            batch_loss = torch.compile(batch_loss, mode=mode)

        def step(*batch: Tensor) -> None:
            optimizer.zero_grad(set_to_none=True)
            batch_loss(*batch).backward()
            optimizer.step()

        return self._captured(step) if graph else step

    def _captured(self, step: Any) -> Any:
        """Capture the whole step, optimizer included, as one CUDA graph."""
        batch = [array.clone() for array in self._batches[0]]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                step(*batch)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step(*batch)

        def replay(*new: Tensor) -> None:
            for array, values in zip(batch, new, strict=True):
                array.copy_(values)
            graph.replay()

        return replay

    def _batch_loss(self, model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss of a batch."""
        return self._loss(model(self._see(inputs)).float(), labels.float(), self._fitted)

    def _ready(self, inputs: Any) -> Tensor:
        """Return a batch's inputs, of several modalities the first one's, as they are stored on the device."""
        return self._put(inputs)

    def _see(self, inputs: Tensor) -> Tensor:
        """Return the network's input; part of the step."""
        return (inputs.float() - self._mean) / self._std

    def _put(self, array: Any) -> Tensor:
        return torch.tensor(np.asarray(array)).to(self.device)


class TextPeer(Peer):
    """A peer of the text network, on dense rows."""

    def _choices(self) -> dict[str, tuple[str, ...]]:
        return {"layout": LAYOUTS[:1], "first": ("linear", "transposed"), "how": HOWS[self.device.type]}

    def _model(self, first: str) -> nn.Module:
        n_terms, dropout = self._batches[0][0].shape[1], self._config.model.dropout
        return MLP(n_terms, self._n_outputs, mlp.MLP.widths, dropout, first == "transposed")


class ImagePeer(Peer):
    """A peer of image networks, on ready views: it is spared the augmentation, and in bfloat16 their cast.

    On a CPU nothing is compiled: ResNet-101 would take two minutes, and its steps are no faster.  `max-autotune` is
    not tried either, which would tune each of a hundred convolutions.
    """

    def _choices(self) -> dict[str, tuple[str, ...]]:
        hows = tuple(how for how in HOWS["cuda"] if how != "max-autotune") if self.device.type == "cuda" else ("eager",)
        return {"layout": LAYOUTS, "first": ("ready views",), "how": hows}

    def _model(self, first: str) -> nn.Module:
        settings = self._config.model
        return NETWORKS[name_of(settings)](n_outputs=self._n_outputs, dropout=settings.dropout)

    def _make_step(self, way: Way) -> Any:
        layout = torch.channels_last if way.layout == "channels-last" else torch.contiguous_format
        self._batches = [(x.contiguous(memory_format=layout), y) for x, y in self._batches]
        return super()._make_step(way)

    def _ready(self, inputs: Any) -> Tensor:
        """Return standardised centre views, [items, channels, height, width]."""
        low, size = (self._config.image.side_px - self._config.augment.size_px) // 2, self._config.augment.size_px
        pixels = self._put(inputs[:, low : low + size, low : low + size])
        views = ((pixels / 255 - self._mean) / self._std).permute(0, 3, 1, 2)
        return views.to(torch.bfloat16 if self._bf16 else torch.float32)

    def _see(self, inputs: Tensor) -> Tensor:
        return inputs


class MelPeer(Peer):
    """A peer of tagging networks, on ready log-mel patches: it is spared the logarithm."""

    def _choices(self) -> dict[str, tuple[str, ...]]:
        return {"layout": LAYOUTS, "first": ("ready patches",), "how": HOWS[self.device.type]}

    def _model(self, first: str) -> nn.Module:
        settings, mel = self._config.model, self._config.mel
        name, fields = name_of(settings), {"n_outputs": self._n_outputs, "dropout": settings.dropout}
        if name in torch_frames.NETWORKS:
            return torch_frames.NETWORKS[name](patch=(mel.patch_frames, mel.n_bins), **fields)
        if name not in torch_tagging.NETWORKS:
            known = ", ".join((*torch_tagging.NETWORKS, *torch_frames.NETWORKS))
            raise UserError(f"PyTorch's peer has no {name}, only {known}; leave --peer out")
        return torch_tagging.NETWORKS[name](**fields)

    def _ready(self, inputs: Any) -> Tensor:
        """Return the values that the network sees, [items, frames, bins]."""
        mel = self._config.mel
        return self._put(Compression(mel.level, mel.floor_db)(np.asarray(inputs, np.float32), np))

    def _see(self, inputs: Tensor) -> Tensor:
        return inputs


class TokenPeer(Peer):
    """A peer of networks with BERT's encoder."""

    def _choices(self) -> dict[str, tuple[str, ...]]:
        return {"layout": LAYOUTS[:1], "first": ("embedding",), "how": HOWS[self.device.type]}

    def _model(self, first: str) -> nn.Module:
        settings = self._config.model
        return torch_bert.Bert(settings.bert, self._n_outputs, settings.dropout)

    def _see(self, inputs: Tensor) -> Tensor:
        return inputs


class JointPeer(MelPeer):
    """A peer of networks of songs and lyrics."""

    def _choices(self) -> dict[str, tuple[str, ...]]:
        return {"layout": LAYOUTS, "first": ("ready patches",), "how": HOWS[self.device.type]}

    def _model(self, first: str) -> nn.Module:
        frames = self._config.mel.patch_frames
        places = (self._batches[0][1].shape[1], frames // 2 ** len(FILTERS))
        network = torch_joint.NETWORKS[self._config.model.family]
        return network(self._config, self._n_outputs, self._fitted, places)

    def _batch_loss(self, model: nn.Module, *batch: Tensor) -> Tensor:
        patches, tokens, labels = batch
        share = self._config.model.joint.contrast
        logits, contrastive = model(patches, tokens)
        loss = self._loss(logits.float(), labels.float(), self._fitted)
        return loss if contrastive is None else share * contrastive + (1 - share) * loss


PEERS = {
    "audio": Peer,
    "mel": MelPeer,
    "text": TextPeer,
    "image": ImagePeer,
    "lyrics": TokenPeer,
    "mel+lyrics": JointPeer,
}
