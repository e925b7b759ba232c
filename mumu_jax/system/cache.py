"""The user's folder for what can be made again: compiled programs, which later processes load, and measurements."""

import os
from pathlib import Path

import jax


def keep_compiled_programs() -> None:
    """Turn on JAX's persistent compilation cache, unless the user has.

    $JAX_COMPILATION_CACHE_DIR names its folder; by default it is `compiled` in the cache folder.
    """
    if jax.config.jax_compilation_cache_dir is None:  # pyright: ignore[reportAttributeAccessIssue]
        jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "compiled"))


def cache_folder() -> Path:
    """Return mumu_jax in the user's folder of caches, $XDG_CACHE_HOME or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mumu_jax"
