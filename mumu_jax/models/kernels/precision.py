"""What the networks compute in.  Parameters, statistics, loss and outputs are float32 whatever it is."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


def compute_dtype(precision: str) -> Any:
    """The dtype of `config.model.precision`; `auto` is bfloat16 where matrix units have it, float32 on a CPU."""
    if precision == "auto":
        precision = "bfloat16" if jax.default_backend() in ("gpu", "tpu") else "float32"
    return {"bfloat16": jnp.bfloat16, "float32": jnp.float32}[precision]


def product_precision(dtype: Any) -> lax.Precision:
    """float32 means float32: an accelerator would otherwise round the factors to TF32 or bfloat16."""
    return lax.Precision.HIGHEST if dtype == jnp.float32 else lax.Precision.DEFAULT
