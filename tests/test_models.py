"""Every named experiment's network under one contract, and the fast convolutions against the plain one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from mumu_jax.experiments import load_experiments
from mumu_jax.flags import MUMU_OUTPUTS, count_params
from mumu_jax.models import build_track_network
from mumu_jax.models.cnn import VARIANTS, WIDTHS
from mumu_jax.models.convolution import conv_pool
from mumu_jax.models.shallow import Shallow

EXPERIMENTS = load_experiments()

# ../shared/spec/oramas2017.md, "Audio CNN": derived from the paper's Table 2.
PARAMETERS = {
    "low_3x3": (488_122, 334_322),
    "high_3x3": (16_364_794, 15_545_394),
    "low_4x96": (195_706, 144_306),
    "high_4x96": (4_795_386, 3_975_986),
    "low_4x70": (352_890, 301_490),
    "high_4x70": (7_390_202, 6_570_802),
}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_parameter_count(name):
    logistic, cosine = PARAMETERS[name.removeprefix("audio_").removesuffix("_cosine").removesuffix("_logistic")]
    assert count_params(EXPERIMENTS[name].config) == (logistic if name.endswith("_logistic") else cosine)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_network_contract(name):
    config = EXPERIMENTS[name].config
    kind = config.target.kind
    n_outputs = MUMU_OUTPUTS[kind]
    model = build_track_network(config, n_outputs)
    patches = jax.random.normal(jax.random.key(1), (2, 322, 96))
    params = jax.jit(model.init)(jax.random.key(0), patches)
    rngs = {"dropout": jax.random.key(2)}

    def loss(params):
        output, embedding = model.apply(params, patches, train=True, rngs=rngs)
        return jnp.sum(output * jnp.arange(1.0, n_outputs + 1)), (output, embedding)

    (_, (output, embedding)), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    assert output.shape == (2, n_outputs)
    assert output.dtype == embedding.dtype == jnp.float32
    assert embedding.shape == (2, params["params"]["output"]["dense"]["kernel"].shape[0])
    assert all(bool(jnp.isfinite(g).all()) for g in jax.tree.leaves(gradients))
    assert all(bool(jnp.any(g != 0)) for g in jax.tree.leaves(gradients))

    eager, _ = model.apply(params, patches)
    jitted, _ = jax.jit(model.apply)(params, patches)
    np.testing.assert_allclose(eager, jitted, rtol=1e-4, atol=1e-5)
    if kind == "cosine":
        np.testing.assert_allclose(jnp.linalg.norm(eager, axis=1), 1, rtol=1e-5)
    dropped = config.model.dropout > 0
    assert bool(jnp.any(embedding != model.apply(params, patches)[1])) == dropped
    assert config.model.dropout == (0.5 if name.startswith("audio_high") and kind == "cosine" else 0)


def test_high_4x70_feature_width():
    """What the fusion concatenates: 4,096 audio features."""
    model = build_track_network(EXPERIMENTS["audio_high_4x70"].config, 50)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 322, 96)))
    assert shapes["params"]["output"]["dense"]["kernel"].shape == (4096, 50)


def plain_conv_pool(x, kernel, bias, pool, padding):
    """What `conv_pool` must equal, as one would write it down."""
    numbers = ("NHWC", "HWIO", "NHWC")
    y = lax.conv_general_dilated(
        x, kernel, (1, 1), padding.upper(), dimension_numbers=numbers, precision=lax.Precision.HIGHEST
    )
    y = jax.nn.relu(y + bias)
    window = (1, *pool, 1)
    return lax.reduce_window(y, -jnp.inf, lax.max, window, window, "VALID")


def layers():
    """(input shape, kernel shape, pool, padding) of every convolution of the six CNNs, narrowed to few channels."""
    found = {}
    for (kernel_name, width), variant in VARIANTS.items():
        shape = (322, 96, 1)
        for i, (size, pool, filters) in enumerate(zip(variant.kernels, variant.pools, WIDTHS[width], strict=True)):
            narrow = min(filters, 5)
            found[f"{width}_{kernel_name}_{i}"] = shape, (*size, shape[2], narrow), pool, variant.padding
            grown = (0, 0) if variant.padding == "same" else (size[0] - 1, size[1] - 1)
            shape = ((shape[0] - grown[0]) // pool[0], (shape[1] - grown[1]) // pool[1], narrow)
    return found


@pytest.mark.parametrize("name", layers())
def test_conv_pool_equals_plain_convolution(name):
    shape, kernel_shape, pool, padding = layers()[name]
    x = jax.random.normal(jax.random.key(0), (2, *shape))
    kernel = jax.random.normal(jax.random.key(1), kernel_shape) / np.sqrt(np.prod(kernel_shape[:3]))
    bias = 0.1 * jax.random.normal(jax.random.key(2), kernel_shape[3:])

    fast = conv_pool(x, kernel, bias, pool, padding)
    plain = plain_conv_pool(x, kernel, bias, pool, padding)
    assert fast.shape == plain.shape
    np.testing.assert_allclose(fast, plain, atol=1e-5)

    cotangent = jax.random.normal(jax.random.key(3), plain.shape)
    arguments = (x, kernel, bias)

    def pulled(f):
        return jax.grad(lambda *a: jnp.sum(f(*a, pool, padding) * cotangent), argnums=(0, 1, 2))(*arguments)

    for ours, theirs in zip(pulled(conv_pool), pulled(plain_conv_pool), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * float(jnp.abs(theirs).max()))


def test_shallow_network_gives_its_input_as_embedding():
    vectors = jax.random.normal(jax.random.key(0), (3, 7))
    model = Shallow(n_outputs=4, unit_output=True)
    output, embedding = model.apply(model.init(jax.random.key(1), vectors), vectors)
    np.testing.assert_array_equal(embedding, vectors)
    np.testing.assert_allclose(jnp.linalg.norm(output, axis=1), 1, rtol=1e-6)
