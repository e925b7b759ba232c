"""The image networks' convolution has the values and gradients of `lax.conv_general_dilated`, in a loop as outside."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from mumu_jax.models.kernels import winograd
from mumu_jax.models.kernels.padded import CHANNELS_LAST, convolve, padded_conv
from mumu_jax.models.kernels.windows import max_pool


@pytest.mark.parametrize("sides", [(16, 16), (17, 15)])
@pytest.mark.parametrize(
    ("size", "stride", "padding"), [(1, 1, 0), (1, 2, 0), (3, 1, 1), (3, 2, 1), (7, 2, 3), (5, 3, 2), (4, 4, 0)]
)
def test_values_and_gradients(size, stride, padding, sides):
    conv = padded_conv(5, size, stride, padding, bias=True, dtype=jnp.float32, name="conv")
    x, weights = jax.random.normal(jax.random.key(0), (2, *sides, 3)), jax.random.normal(jax.random.key(1), (999,))
    params = conv.init(jax.random.key(2), x)["params"]

    def ours(params, x):
        return conv.apply({"params": params}, x)

    def plain(params, x):
        pads = ((padding, padding),) * 2
        y = lax.conv_general_dilated(x, params["kernel"], (stride, stride), pads, dimension_numbers=CHANNELS_LAST)
        return y + params["bias"]

    def gradients(network):
        def loss(params, x):
            y = network(params, x)
            return jnp.sum(y**2 * jnp.resize(weights, y.shape))

        return jax.jit(jax.value_and_grad(loss, (0, 1)))(params, x)

    for found, expected in zip(*map(jax.tree.leaves, (gradients(ours), gradients(plain))), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


def relative_errors(ours, plain, *arguments):
    """Of the values and of each argument's gradient, in the largest value."""
    y = jax.eval_shape(plain, *arguments)
    g = jax.random.normal(jax.random.key(9), y.shape, y.dtype)
    results = []
    for network in (ours, plain):
        y, pull = jax.vjp(network, *arguments)
        results.append((y, *jax.jit(pull)(g)))
    return [float(jnp.abs(one - other).max() / jnp.abs(other).max()) for one, other in zip(*results, strict=True)]


@pytest.mark.parametrize("padding", [((1, 1), (1, 1)), ((0, 2), (1, 0))])
@pytest.mark.parametrize(("sides", "chunk_bytes"), [((8, 6), 2**23), ((7, 9), 2**23), ((8, 7), 0), ((8, 7), 2**16)])
def test_winograds_algorithm(padding, sides, chunk_bytes, monkeypatch):
    """Of even and odd sides, whole and in chunks of one item and of two."""
    monkeypatch.setattr(winograd, "WHOLE_BYTES", chunk_bytes)
    monkeypatch.setattr(winograd, "CHUNK_BYTES", chunk_bytes)
    x = jax.random.normal(jax.random.key(0), (4, *sides, 32)) + 1
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 32, 40))
    assert winograd.suits(x.shape, kernel.shape, padding, x.dtype)

    def plain(x, kernel):
        precision = lax.Precision.HIGHEST
        return lax.conv_general_dilated(
            x, kernel, (1, 1), padding, dimension_numbers=CHANNELS_LAST, precision=precision
        )

    assert max(relative_errors(lambda x, kernel: convolve(x, kernel, padding), plain, x, kernel)) < 1e-5
    assert (
        "while" in str(jax.jit(convolve, static_argnums=2).lower(x, kernel, padding).as_text()) or chunk_bytes > 2**16
    )


@pytest.mark.parametrize(
    ("x_shape", "kernel_shape", "padding", "dtype"),
    [
        ((4, 8, 8, 32), (5, 5, 32, 32), 1, jnp.float32),
        ((4, 8, 8, 32), (3, 3, 32, 32), 3, jnp.float32),
        ((4, 8, 8, 32), (3, 3, 32, 31), 1, jnp.float32),
        ((4, 8, 8, 32), (3, 3, 32, 32), 1, jnp.bfloat16),
        ((1, 4, 4, 64), (3, 3, 64, 64), 1, jnp.float32),
    ],
)
def test_winograds_algorithm_is_not_used_where_it_is_slower_or_less_exact(x_shape, kernel_shape, padding, dtype):
    assert winograd.suits((4, 8, 8, 32), (3, 3, 32, 32), ((1, 1), (1, 1)), jnp.float32)
    assert not winograd.suits(x_shape, kernel_shape, ((padding, padding),) * 2, dtype)


WINDOWS = [
    ((8, 11), (3, 3), (2, 2), 1),
    ((9, 12), (3, 3), (2, 2), 0),
    ((112, 4), (3, 3), (2, 2), 1),
    ((11, 7), (4, 1), (2, 2), 0),
    ((9, 8), (2, 5), (3, 1), 0),
    ((9, 7), (2, 3), (2, 3), 0),
]


@pytest.mark.parametrize(("sides", "window", "strides", "padding"), WINDOWS)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_max_pool(sides, window, strides, padding, dtype):
    """Values and gradients are those of XLA's windows; no two elements are equal."""
    size = 2 * sides[0] * sides[1] * 3
    bits = np.random.default_rng(0).permutation(size).astype(np.uint16) * 8 + 0x80
    x = jnp.asarray(bits.view(jnp.bfloat16).reshape(2, *sides, 3), dtype)

    def plain(x):
        pads = ((0, 0), (padding, padding), (padding, padding), (0, 0))
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, *window, 1), (1, *strides, 1), pads)

    of_values, of_gradients = relative_errors(lambda x: max_pool(x, window, strides, padding), plain, x)
    assert of_values == 0
    assert of_gradients < (1e-6 if dtype == jnp.float32 else 1e-2)  # sums of several windows' gradients
