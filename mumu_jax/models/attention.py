"""Multi-head attention (Vaswani et al. 2017), of a sequence to itself or to another."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float

from mumu_jax.models.kernels.precision import product_precision
from mumu_jax.models.kernels.products import dot_rows

Initializer = Callable[..., Array]


def attend(
    queries: Float[Array, "items queries width"],
    keys: Float[Array, "items keys width"],
    values: Float[Array, "items keys width_of_values"],
    heads: int,
    mask: Bool[Array, "items keys"] | None = None,
    drop: Callable[[Array], Array] = lambda weights: weights,
) -> Float[Array, "items queries width_of_values"]:
    """Return each head's mean of the values, weighted by softmax(q · k / √d), the heads side by side.

    A key whose `mask` is False has no weight; a query without any key gets zeros.  The weights are float32 until they
    have passed through `drop`, which may be a dropout.
    """
    precision = product_precision(queries.dtype)
    queries, keys, values = (x.reshape(*x.shape[:2], heads, -1) for x in (queries, keys, values))
    logits = jnp.einsum("iqhd,ikhd->ihqk", queries, keys, precision=precision, preferred_element_type=jnp.float32)
    logits = logits / queries.shape[-1] ** 0.5
    if mask is None:
        weights = jax.nn.softmax(logits)
    else:
        seen = mask[:, None, None]
        # Not -inf: without any key the softmax would be NaN, and so would gradients be.
        weights = jnp.where(seen, jax.nn.softmax(jnp.where(seen, logits, jnp.finfo(jnp.float32).min)), 0)
    weights = drop(weights).astype(values.dtype)
    mean = jnp.einsum("ihqk,ikhd->iqhd", weights, values, precision=precision)
    return mean.reshape(*mean.shape[:2], -1)


class Attention(nn.Module):
    """Attention with dense layers `query`, `key` and `value` of one width; what follows it is the caller's.

    The layers compute in `dtype`, the attention's weights in float32.
    """

    width: int
    heads: int = 1
    use_bias: bool = True
    kernel_init: Initializer = nn.initializers.xavier_uniform()
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "items queries d"],
        context: Float[Array, "items keys d2"],
        mask: Bool[Array, "items keys"] | None = None,
        drop: Callable[[Array], Array] = lambda weights: weights,
    ) -> Float[Array, "items queries width"]:
        """Return for each place of `x` what it finds in `context`, which may be `x` itself; see `attend`."""

        def dense(name: str) -> nn.Dense:
            return nn.Dense(
                self.width,
                self.use_bias,
                self.dtype,
                precision=product_precision(self.dtype),
                kernel_init=self.kernel_init,
                dot_general=dot_rows,
                name=name,
            )

        queries, keys, values = dense("query")(x), dense("key")(context), dense("value")(context)
        return attend(queries, keys, values, self.heads, mask, drop)
