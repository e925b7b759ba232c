"""The gated recurrent unit (Cho et al. 2014) in its two published forms; the weights of one do not fit the other."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

from mumu_jax.models.kernels.precision import product_precision


class GRU(nn.Module):
    """A recurrent layer over a sequence, in float32.

    PyTorch's form multiplies the recurrent product by the reset gate; Keras 1's (`keras`) multiplies the state before
    the product, has no second bias, and gates that are clipped lines.  The gates are stored in the order of reset,
    update, new.
    """

    width: int
    keras: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "items frames d"]) -> Float[Array, "items frames width"]:
        """Return the state after each frame."""
        precision, shape = product_precision(jnp.float32), (self.width, 3 * self.width)
        inputs = nn.Dense(3 * self.width, precision=precision, name="input")(x.astype(jnp.float32))
        kernel = self.param("recurrent_kernel", nn.initializers.glorot_uniform(), shape)
        bias = 0.0
        if not self.keras:
            bias = self.param("recurrent_bias", nn.initializers.zeros_init(), (3 * self.width,))

        def product(state: Array, kernel: Array) -> Array:
            return jnp.matmul(state, kernel, precision=precision)

        def keras_step(state: Array, frame: Array) -> tuple[Array, Array]:
            of_gates, of_new = jnp.split(kernel, (2 * self.width,), axis=1)
            gates, new = jnp.split(frame, (2 * self.width,), axis=1)
            reset, update = jnp.split(jnp.clip(0.2 * (gates + product(state, of_gates)) + 0.5, 0, 1), 2, axis=1)
            state = update * state + (1 - update) * jnp.tanh(new + product(reset * state, of_new))
            return state, state

        def torch_step(state: Array, frame: Array) -> tuple[Array, Array]:
            gates, new = jnp.split(frame, (2 * self.width,), axis=1)
            of_gates, of_new = jnp.split(product(state, kernel) + bias, (2 * self.width,), axis=1)
            reset, update = jnp.split(jax.nn.sigmoid(gates + of_gates), 2, axis=1)
            state = update * state + (1 - update) * jnp.tanh(new + reset * of_new)
            return state, state

        start = jnp.zeros((len(x), self.width), jnp.float32)
        _, states = lax.scan(keras_step if self.keras else torch_step, start, inputs.swapaxes(0, 1))
        return states.swapaxes(0, 1)
