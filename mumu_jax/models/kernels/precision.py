"""The precision that networks compute in.  Parameters, statistics, loss and outputs are always float32."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


def compute_dtype(precision: str) -> Any:
    """Return the dtype for `config.model.precision`; `auto` is bfloat16 on a GPU or TPU and float32 on a CPU."""
    if precision == "auto":
        precision = "bfloat16" if jax.default_backend() in ("gpu", "tpu") else "float32"
    return {"bfloat16": jnp.bfloat16, "float32": jnp.float32}[precision]


def product_precision(dtype: Any) -> lax.Precision:
    """Return the precision that keeps float32 exact: accelerators round factors to TF32 or bfloat16 by default."""
    return lax.Precision.HIGHEST if dtype == jnp.float32 else lax.Precision.DEFAULT
