"""Programs that run once, in tests."""

from functools import partial

import jax

# They need not run fast: this halves the time that it takes to compile them.
quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
