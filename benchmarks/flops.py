"""Floating-point operations of one training step of the audio CNNs, counted by hand.

A step is forward and backward of the network written plainly: `lax.conv` at every position, those that pooling then
discards among them.  What a faster formulation saves or adds does not change the count, so that the share of the
peak compares formulations.  A multiplication and its addition are two operations.  Only convolutions and the dense
layer are counted; what else there is (bias, ReLU, pool, loss, Adam) is below 5 %.
"""

from typing import NamedTuple

from mumu_jax.config import Config
from mumu_jax.models.cnn import VARIANTS, WIDTHS


class Layer(NamedTuple):
    """A layer of one item: its products forward, and whether the backward pass needs its input's gradient."""

    name: str
    forward: int
    input_gradient: bool

    @property
    def train(self) -> int:
        """Forward, weight gradient and input gradient are the same products, summed along other axes."""
        return self.forward * (3 if self.input_gradient else 2)


def layers(config: Config, n_outputs: int) -> list[Layer]:
    """The layers of the track network on one patch; the first has no input gradient, as nobody asks for it."""
    variant, filters = VARIANTS[config.model.kernel, config.model.width], WIDTHS[config.model.width]
    size, channels = (config.audio.patch_frames, config.audio.n_bins), 1
    found = []
    for i, (kernel, pool, width) in enumerate(zip(variant.kernels, variant.pools, filters, strict=True)):
        taps = [_taps(n, k, variant.padding) for n, k in zip(size, kernel, strict=True)]
        found.append(Layer(f"conv{i}", 2 * taps[0] * taps[1] * channels * width, input_gradient=i > 0))
        outputs = [n if variant.padding == "same" else n - k + 1 for n, k in zip(size, kernel, strict=True)]
        size, channels = (outputs[0] // pool[0], outputs[1] // pool[1]), width
    return [*found, Layer("dense", 2 * size[0] * size[1] * channels * n_outputs, input_gradient=True)]


def embedding_width(config: Config) -> int:
    """Length of the penultimate vector."""
    return layers(config, 1)[-1].forward // 2


def train_flops(config: Config, n_outputs: int) -> int:
    """Of one item in one training step."""
    return sum(layer.train for layer in layers(config, n_outputs))


def _taps(n: int, k: int, padding: str) -> int:
    """Pairs of an output and an input under its kernel, along one axis.

    Padding is no input: a product with it is no work.  So it is in XLA's count, too.
    """
    if padding == "valid":
        return (n - k + 1) * k
    before = (k - 1) // 2
    return sum(min(n, i - before + k) - max(0, i - before) for i in range(n))
