"""The operations of a training step against the compiler's count of the plainly written one."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from benchmarks import flops
from benchmarks.options import SIX
from mumu_jax.experiments import load_config
from mumu_jax.models import build_item_network
from mumu_jax.models.cnn import VARIANTS, WIDTHS

ITEMS, N_OUTPUTS = 2, 250


def abstract(shape) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def compilers_count(function, *shapes) -> float:
    """Operations of `function`, compiled for arrays of these shapes."""
    arguments = jax.tree.map(abstract, list(shapes), is_leaf=lambda shape: isinstance(shape, tuple))
    cost = jax.jit(function).lower(*arguments).compile().cost_analysis()
    return cost["flops"]


def conv(x, kernel, padding):
    return lax.conv_general_dilated(x, kernel, (1, 1), padding.upper(), dimension_numbers=("NHWC", "HWIO", "NHWC"))


def max_pool(x, pool):
    window = (1, *pool, 1)
    return lax.reduce_window(x, -jnp.inf, lax.max, window, window, "VALID")


def kernels_and_inputs(name):
    """The shapes of the kernel and of the input of each block."""
    model = load_config(name).model
    variant, filters = VARIANTS[model.kernel, model.width], WIDTHS[model.width]
    x = abstract((ITEMS, 322, 96, 1))
    found = []
    for size, pool, width in zip(variant.kernels, variant.pools, filters, strict=True):
        kernel = abstract((*size, x.shape[3], width))
        found.append([kernel.shape, x.shape])
        x = jax.eval_shape(lambda x, k, pool=pool: max_pool(conv(x, k, variant.padding), pool), x, kernel)
    return found, x.shape, variant


@pytest.mark.parametrize("name", SIX)
def test_a_whole_step(name):
    blocks, last, variant = kernels_and_inputs(name)
    kernels, biases = [kernel for kernel, _ in blocks], [kernel[3:] for kernel, _ in blocks]
    width = last[1] * last[2] * last[3]
    assert flops.embedding_width(load_config(name)) == width

    def loss(params, x):
        kernels, biases, dense = params
        for kernel, bias, pool in zip(kernels, biases, variant.pools, strict=True):
            x = max_pool(jax.nn.relu(conv(x, kernel, variant.padding) + bias), pool)
        return jnp.sum(jnp.square(x.reshape(ITEMS, -1) @ dense))

    counted = compilers_count(jax.value_and_grad(loss), [kernels, biases, (width, N_OUTPUTS)], blocks[0][1])
    assert ITEMS * flops.train_flops(load_config(name), N_OUTPUTS) == pytest.approx(counted, rel=0.05)


@pytest.mark.parametrize("name", SIX)
def test_each_convolution(name):
    """Forward, and backward on its own: with the gradient of the input from the second layer on."""
    blocks, _, variant = kernels_and_inputs(name)
    by_hand = flops.layers(load_config(name), N_OUTPUTS)
    for i, (kernel, x) in enumerate(blocks):
        run = lambda kernel, x: conv(x, kernel, variant.padding)  # noqa: E731
        forward = compilers_count(run, kernel, x)
        y = jax.eval_shape(run, abstract(kernel), abstract(x)).shape
        wanted = (0,) if i == 0 else (0, 1)

        def backward(kernel, x, dy, run=run, wanted=wanted):
            gradients = jax.vjp(run, kernel, x)[1](dy)
            return [gradients[j] for j in wanted]

        assert ITEMS * by_hand[i].forward == pytest.approx(forward, rel=0.01)
        counted = forward + compilers_count(backward, kernel, x, y)
        assert ITEMS * by_hand[i].train == pytest.approx(counted, rel=0.05)


# Multiplications and additions forward, as published: in these, products with padding count.
PUBLISHED = {
    "image_resnet101": 7.80e9,
    "covers_vit_b16": 17.56e9,
    "covers_densenet201": 4.29e9,
    "covers_alexnet": 0.71e9,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_image_networks(name):
    layers = flops.layers(load_config(name), 1000)
    assert 0.9 * PUBLISHED[name] < sum(layer.forward for layer in layers) / 2 <= 1.005 * PUBLISHED[name]
    assert [layer.input_gradient for layer in layers] == [False, *[True] * (len(layers) - 1)]


@pytest.mark.parametrize("name", ["image_resnet101", "covers_vit_b16", "covers_alexnet"])
def test_a_whole_step_of_an_image_network(name):
    """As lowered, which needs no compiling: norms and activations are counted there, and they are few."""
    config = load_config(name)
    config.model.depth = 18  # of the ResNet
    network = build_item_network(config, N_OUTPUTS)
    images = abstract((ITEMS, 224, 224, 3))
    variables = jax.eval_shape(network.init, jax.random.key(0), images)

    statistics = {k: v for k, v in variables.items() if k != "params"}

    def step(params, statistics, images):
        return jax.grad(lambda p: jnp.sum(network.apply({"params": p, **statistics}, images)[0]))(params)

    counted = jax.jit(step).lower(variables["params"], statistics, images).cost_analysis()["flops"]
    assert ITEMS * flops.train_flops(config, N_OUTPUTS) == pytest.approx(counted, rel=0.05)
