"""The cache of compiled programs, which later processes load instead of compiling again."""

import os
from pathlib import Path

import jax


def keep_compiled_programs() -> None:
    """Turn on JAX's persistent compilation cache, unless the user has.

    $JAX_COMPILATION_CACHE_DIR names its folder; by default it is mumu_jax/compiled in the user's cache folder.
    """
    if jax.config.jax_compilation_cache_dir is None:  # pyright: ignore[reportAttributeAccessIssue]
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(caches / "mumu_jax" / "compiled"))
