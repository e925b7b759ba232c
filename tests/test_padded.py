"""The image networks' convolution has the values and gradients of `lax.conv_general_dilated`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from mumu_jax.models.kernels.padded import padded_conv
from mumu_jax.models.kernels.plain import CHANNELS_LAST


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
