"""The operations of a training step against the compiler's count of the plainly written one."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from benchmarks import flops
from benchmarks.made_up_batches import Problem
from benchmarks.options import SIX
from mumu_jax.experiments import load_config
from mumu_jax.models.cnn import variant_of
from mumu_jax.models.kernels.backend import traced_for

ITEMS, N_OUTPUTS = 2, 250


def problem_of(name, n_outputs=N_OUTPUTS, **model) -> Problem:
    """The named experiment with so many outputs, one a label."""
    config = load_config(name)
    config.target.kind = "logistic"
    for field, value in model.items():
        setattr(config.model, field, value)
    return Problem(config, n_outputs)


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
    variant = variant_of(load_config(name).model)
    x = abstract((ITEMS, 322, 96, 1))
    found = []
    for size, pool, width in zip(variant.kernels, variant.pools, variant.filters, strict=True):
        kernel = abstract((*size, x.shape[3], width))
        found.append([kernel.shape, x.shape])
        x = jax.eval_shape(lambda x, k, pool=pool: max_pool(conv(x, k, variant.padding), pool), x, kernel)
    return found, x.shape, variant


@pytest.mark.parametrize("name", SIX)
def test_a_whole_step(name):
    blocks, last, variant = kernels_and_inputs(name)
    kernels, biases = [kernel for kernel, _ in blocks], [kernel[3:] for kernel, _ in blocks]
    width = last[1] * last[2] * last[3]
    problem = problem_of(name)
    assert flops.layers(problem)[-1].forward == 2 * width * N_OUTPUTS

    def loss(params, x):
        kernels, biases, dense = params
        for kernel, bias, pool in zip(kernels, biases, variant.pools, strict=True):
            x = max_pool(jax.nn.relu(conv(x, kernel, variant.padding) + bias), pool)
        return jnp.sum(jnp.square(x.reshape(ITEMS, -1) @ dense))

    counted = compilers_count(jax.value_and_grad(loss), [kernels, biases, (width, N_OUTPUTS)], blocks[0][1])
    assert ITEMS * flops.train_flops(problem) == pytest.approx(counted, rel=0.05)


@pytest.mark.parametrize("name", SIX)
def test_each_convolution(name):
    """Forward, and backward on its own: with the gradient of the input from the second layer on."""
    blocks, _, variant = kernels_and_inputs(name)
    traced = flops.layers(problem_of(name))
    for i, (kernel, x) in enumerate(blocks):
        run = lambda kernel, x: conv(x, kernel, variant.padding)  # noqa: E731
        forward = compilers_count(run, kernel, x)
        y = jax.eval_shape(run, abstract(kernel), abstract(x)).shape
        wanted = (0,) if i == 0 else (0, 1)

        def backward(kernel, x, dy, run=run, wanted=wanted):
            gradients = jax.vjp(run, kernel, x)[1](dy)
            return [gradients[j] for j in wanted]

        assert ITEMS * traced[i].forward == pytest.approx(forward, rel=0.01)
        counted = forward + compilers_count(backward, kernel, x, y)
        assert ITEMS * traced[i].train == pytest.approx(counted, rel=0.05)


def taps(n, k, padding):
    """Pairs of an output and an input under its kernel, along one axis: products with padding do not count."""
    starts = range(-((k - 1) // 2), n - (k - 1) // 2) if padding == "same" else range(n - k + 1)
    return sum(min(n, start + k) - max(0, start) for start in starts)


@pytest.mark.parametrize("name", SIX)
def test_the_trace_of_an_audio_network_equals_the_formula(name):
    config = load_config(name)
    variant, channels = variant_of(config.model), 1
    size, by_hand = (config.audio.patch_frames, config.audio.n_bins), []
    for kernel, pool, width in zip(variant.kernels, variant.pools, variant.filters, strict=True):
        pairs = [taps(n, k, variant.padding) for n, k in zip(size, kernel, strict=True)]
        by_hand.append(2 * pairs[0] * pairs[1] * channels * width)
        outputs = [n if variant.padding == "same" else n - k + 1 for n, k in zip(size, kernel, strict=True)]
        size, channels = (outputs[0] // pool[0], outputs[1] // pool[1]), width
    by_hand.append(2 * size[0] * size[1] * channels * N_OUTPUTS)
    for precision in ("float32", "bfloat16"):
        assert [layer.forward for layer in flops.layers(problem_of(name, precision=precision))] == by_hand


@pytest.mark.parametrize("name", ["mel_short_chunk", "covers_alexnet"])
def test_a_faster_algorithm_does_not_change_the_count(name):
    """On a CPU, 3 × 3 convolutions are fewer products; the count is that of convolutions."""
    layers = flops.layers(problem_of(name))
    assert [layer.name for layer in layers].count("conv") == (7 if name == "mel_short_chunk" else 5)


def test_the_text_network_counts_its_zeros():
    """Two hidden layers of 2,048 on 10,000 words."""
    forward = [2 * 10_000 * 2048, 2 * 2048 * 2048, 2 * 2048 * N_OUTPUTS]
    assert [layer.forward for layer in flops.layers(problem_of("text_vsm"))] == forward
    assert flops.train_flops(problem_of("text_vsm")) == 2 * forward[0] + 3 * sum(forward[1:])


# Multiplications and additions forward, as published: in these, products with padding count.
PUBLISHED = {
    "image_resnet101": 7.80e9,
    "covers_vit_b16": 17.56e9,
    "covers_densenet201": 4.29e9,
    "covers_alexnet": 0.71e9,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_image_networks(name):
    layers = flops.layers(problem_of(name, n_outputs=1000))
    assert 0.9 * PUBLISHED[name] < sum(layer.forward for layer in layers) / 2 <= 1.005 * PUBLISHED[name]
    assert [layer.input_gradient for layer in layers] == [False, *[True] * (len(layers) - 1)]


@pytest.mark.parametrize("name", ["image_resnet101", "covers_vit_b16", "covers_alexnet"])
def test_a_whole_step_of_an_image_network(name):
    """Count the step as lowered, which needs no compiling: norms and activations are in it, and they are few."""
    problem = problem_of(name, depth=18)  # of the ResNet
    network, images = problem.network.model, abstract((ITEMS, 224, 224, 3))
    variables = jax.eval_shape(network.init, jax.random.key(0), images)

    statistics = {k: v for k, v in variables.items() if k != "params"}

    def step(params, statistics, images):
        return jax.grad(lambda p: jnp.sum(network.apply({"params": p, **statistics}, images)[0]))(params)

    with traced_for("gpu"):  # convolutions as they are defined
        counted = jax.jit(step).lower(variables["params"], statistics, images).cost_analysis()["flops"]
    assert ITEMS * flops.train_flops(problem) == pytest.approx(counted, rel=0.05)
