"""Floating-point operations of one training step by layers: audio CNNs are counted by hand, image networks by tracing.

A step is the forward and backward pass of the network written plainly: `lax.conv` at every position, also those that
pooling discards.  A faster formulation does not change the count, so that the share of the peak compares formulations.
A multiplication and its addition are two operations.  Only convolutions and matrix products are counted; everything
else (bias, norms, ReLU, softmax, pool, loss, optimizer) is below 5 %.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import jaxprs_in_params

from mumu_jax.config import Config
from mumu_jax.models import build_item_network
from mumu_jax.models.cnn import VARIANTS, WIDTHS


class Layer(NamedTuple):
    """A layer's forward operations for one item, and if the backward pass needs the gradient of its input."""

    name: str
    forward: int
    input_gradient: bool

    @property
    def train(self) -> int:
        """Operations of a training step: both gradients are the same products as forward, summed along other axes."""
        return self.forward * (3 if self.input_gradient else 2)


def layers(config: Config, n_outputs: int) -> list[Layer]:
    """Return the network's layers for one item; the first needs no input gradient."""
    return (_of_images if config.modality == "image" else _of_patches)(config, n_outputs)


def train_flops(config: Config, n_outputs: int) -> int:
    """Return the operations of one item in a training step in which all layers train."""
    return sum(layer.train for layer in layers(config, n_outputs))


def embedding_width(config: Config) -> int:
    """Return the length of an audio CNN's penultimate vector."""
    return layers(config, 1)[-1].forward // 2


def _of_patches(config: Config, n_outputs: int) -> list[Layer]:
    variant, filters = VARIANTS[config.model.kernel, config.model.width], WIDTHS[config.model.width]
    size, channels = (config.audio.patch_frames, config.audio.n_bins), 1
    blocks = []
    for i, (kernel, pool, width) in enumerate(zip(variant.kernels, variant.pools, filters, strict=True)):
        taps = [_taps(n, k, 1, *_padding(k, variant.padding)) for n, k in zip(size, kernel, strict=True)]
        blocks.append(Layer(f"conv{i}", 2 * taps[0] * taps[1] * channels * width, input_gradient=i > 0))
        outputs = [n if variant.padding == "same" else n - k + 1 for n, k in zip(size, kernel, strict=True)]
        size, channels = (outputs[0] // pool[0], outputs[1] // pool[1]), width
    return [*blocks, Layer("dense", 2 * size[0] * size[1] * channels * n_outputs, input_gradient=True)]


def _padding(k: int, kind: str) -> tuple[int, int]:
    """Return the padding before and after an axis."""
    return ((k - 1) // 2, k // 2) if kind == "same" else (0, 0)


def _of_images(config: Config, n_outputs: int) -> list[Layer]:
    """Trace the network; return its convolutions and matrix products in the order in which they run."""
    network = build_item_network(config, n_outputs)
    image = jax.ShapeDtypeStruct((1, config.augment.size_px, config.augment.size_px, 3), jnp.float32)
    variables = jax.eval_shape(network.init, jax.random.key(0), image)
    traced = jax.make_jaxpr(network.apply)(variables, image)
    return [Layer(name, n, input_gradient=i > 0) for i, (name, n) in enumerate(_products(traced.jaxpr))]


def _products(jaxpr: Any) -> Iterator[tuple[str, int]]:
    """Yield (name, operations) of each undilated convolution and each matrix product, also of inner functions."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            yield "conv", _of_convolution(equation)
        elif equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            terms = math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
            yield "product", 2 * terms * equation.outvars[0].aval.size
        for inner in jaxprs_in_params(equation.params):
            yield from _products(inner)


def _of_convolution(equation: Any) -> int:
    """Count the operations of a convolution of arrays [items, height, width, channels]."""
    image, kernel = (variable.aval.shape for variable in equation.invars)
    strides, padding = equation.params["window_strides"], equation.params["padding"]
    axes = zip(image[1:3], kernel[:2], strides, padding, strict=True)
    taps = [_taps(n, k, stride, before, after) for n, k, stride, (before, after) in axes]
    return 2 * image[0] * math.prod(taps) * kernel[2] * kernel[3]


def _taps(n: int, k: int, stride: int, before: int, after: int) -> int:
    """Count the pairs of an output and an input under its kernel, along one axis.

    Products with padding do not count, as in XLA's own count.
    """
    starts = np.arange(-before, n + after - k + 1, stride)
    return int(np.sum(np.minimum(n, starts + k) - np.maximum(0, starts)))
