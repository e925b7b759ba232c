"""The user's folder for what can be made again: compiled programs, which later processes load, and measurements."""

import contextlib
import os
import re
import warnings
from pathlib import Path

import jax

from mumu_jax.system.lines import print_remark

_show_other_warning = warnings.showwarning


def keep_compiled_programs() -> None:
    """Turn on JAX's persistent compilation cache, unless the user has, and remove from it what cannot be read.

    $JAX_COMPILATION_CACHE_DIR names its folder; by default it is `compiled` in the cache folder.
    """
    if jax.config.jax_compilation_cache_dir is None:  # pyright: ignore[reportAttributeAccessIssue]
        jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "compiled"))
    warnings.showwarning = _show_warning
    warnings.filterwarnings("always", "Error (reading|writing) persistent compilation cache entry", UserWarning)


def cache_folder() -> Path:
    """Return mumu_jax in the user's folder of caches, $XDG_CACHE_HOME or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mumu_jax"


def _show_warning(message: Warning | str, *args, **kwargs) -> None:
    """Show a warning; if it is JAX's about a program that it cannot read or write, remove that program instead.

    JAX never overwrites a program.  Without this, one that a killed process or a full disk left incomplete would be
    compiled again, with a warning, by each later process.
    """
    match = re.match(r"Error (reading|writing) persistent compilation cache entry for '([\w.-]+)': (.*)", str(message))
    folder = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
    if match is None or folder is None:
        _show_other_warning(message, *args, **kwargs)
        return
    access, program, fault = match.groups()
    with contextlib.suppress(OSError):  # of a folder that may only be read
        for damaged in Path(folder).glob(f"{program}-*"):  # perhaps sound ones, too: the warning does not say which
            damaged.unlink(missing_ok=True)
    if access == "reading":
        print_remark(f"compiling {program} again: its copy in {folder} cannot be read ({fault})")
    else:
        print_remark(f"cannot keep {program} in {folder}: it is compiled again next time ({fault})")
