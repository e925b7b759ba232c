"""Floating-point operations of a training step, and the matmul peak of the device, of which a step's are a share.

Operations are counted by layers, by tracing the network.  A step is the forward and backward pass of the network
written plainly: `lax.conv` at every position, also those that pooling discards, and dense layers of all inputs, also
the zeros of sparse ones.  A faster formulation does not change the count, so that the share of the peak compares
formulations.  A multiplication and its addition are two operations.  Only convolutions and matrix products are counted;
everything else (bias, norms, ReLU, softmax, pool, loss, optimizer) is below 5 %.
"""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax
from jax.extend.core import jaxprs_in_params

from benchmarks import timing
from benchmarks.made_up_batches import Problem, densified, item_of
from mumu_jax.compute.network import example_of
from mumu_jax.models import cnn
from mumu_jax.models.kernels.backend import traced_for
from mumu_jax.models.kernels.precision import product_precision


class Layer(NamedTuple):
    """A layer's forward operations for one item, if it trains, and if the backward pass needs its input's gradient."""

    name: str
    forward: int
    trains: bool
    input_gradient: bool

    @property
    def train(self) -> int:
        """Operations of a training step: both gradients are the same products as forward, summed along other axes."""
        return self.forward * (1 + self.trains + self.input_gradient)


def train_flops(problem: Problem) -> int:
    """Return the operations of one item in a training step in which all layers train, but those of a frozen BERT."""
    return sum(layer.train for layer in layers(problem))


def layers(problem: Problem) -> list[Layer]:
    """Return the network's layers for one item, in the order in which they run.

    The first layer needs no input gradient, nor does the first one after a frozen encoder.
    """
    item, model = item_of(densified(problem.chunk(1, 1))), problem.network.model
    example = jax.eval_shape(lambda: example_of(problem.network, item))
    # As for a GPU: on a CPU, layers are products in the place of convolutions, and fewer.
    with mock.patch.object(cnn, "conv_pool", _plain_conv_pool), traced_for("gpu"):
        variables = jax.eval_shape(model.init, jax.random.key(0), example)
        traced = jax.make_jaxpr(lambda variables, inputs: model.apply(variables, inputs))(variables, example)
    found, anything_trains = [], False
    for name, n, modules in _products(traced.jaxpr):
        trains = not (problem.config.model.bert.frozen and "encoder" in modules)
        found.append(Layer(name, n, trains, trains and anything_trains))
        anything_trains |= trains
    return found


def _plain_conv_pool(x: Any, kernel: Any, bias: Any, pool: tuple[int, int], padding: str, choose: Any) -> Any:
    """Compute `mumu_jax.models.kernels.conv_pool` as it is defined."""
    numbers = ("NHWC", "HWIO", "NHWC")
    y = lax.conv_general_dilated(x, kernel.astype(x.dtype), (1, 1), padding.upper(), dimension_numbers=numbers)
    return nn.max_pool(nn.relu(y + bias.astype(x.dtype)), pool, pool)


def _products(jaxpr: Any, outer: tuple[str, ...] = ()) -> Iterator[tuple[str, int, tuple[str, ...]]]:
    """Yield (name, operations, modules) of each undilated convolution and matrix product, also of inner functions."""
    for equation in jaxpr.eqns:
        modules = (*outer, *str(equation.source_info.name_stack).split("/"))
        if equation.primitive.name == "conv_general_dilated":
            yield "conv", _of_convolution(equation), modules
        elif equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            terms = math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
            yield "product", 2 * terms * equation.outvars[0].aval.size, modules
        for inner in jaxprs_in_params(equation.params):
            yield from _products(inner, modules)


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


# --- the peak ---------------------------------------------------------------------------------------------------

# Rows, inner, columns of matrix products: large ones, and one as tall as the products of a convolution.
SHAPES = {
    "cpu": ((1024, 1024, 1024), (2048, 2048, 2048), (8192, 320, 1024)),
    "gpu": ((4096, 4096, 4096), (8192, 8192, 8192), (16384, 16384, 16384), (65536, 2048, 2048)),
}


def fastest_product(precision: str, seconds: float = 0.3) -> Callable[[], float]:
    """Return a measurement of the first device's peak: the FLOP/s of the product in SHAPES that is fastest on it."""
    shapes = SHAPES.get(jax.default_backend(), SHAPES["gpu"])
    return max((_product(shape, precision, seconds) for shape in shapes), key=lambda rate: rate())


def _product(shape: tuple[int, int, int], precision: str, seconds: float) -> Callable[[], float]:
    rows, inner, columns = shape
    a = jax.random.normal(jax.random.key(0), (rows, inner), jnp.dtype(precision))
    b = jax.random.normal(jax.random.key(1), (inner, columns), jnp.dtype(precision))
    # float32 means float32, as in the networks: no TF32.
    multiply = jax.jit(partial(jnp.matmul, precision=product_precision(a.dtype)))
    multiply(a, b).block_until_ready()  # compiles
    return timing.timed(lambda: multiply(a, b).block_until_ready(), 2 * rows * inner * columns, seconds)
