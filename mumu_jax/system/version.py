"""Which version of the code this is."""

import subprocess
from importlib import metadata
from pathlib import Path

from mumu_jax import __version__

CODE = (":/mumu_jax", ":/configs", ":/benchmarks", ":/pyproject.toml")


def commit() -> str | None:
    """The short hash of the checkout that the package lies in, `+dirty` where files differ from it; None without one.

    Only code counts: runs, models and results of benchmarks may lie in the checkout.
    """
    here = Path(__file__)

    def git(*arguments: str) -> str:
        command = ["git", "--no-optional-locks", "-C", str(here.parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", here.name)  # an installed package may lie in another project's checkout
        dirty = git("status", "--porcelain", "--", *CODE, ":(top,exclude)benchmarks/results")
        return git("rev-parse", "--short", "HEAD") + ("+dirty" if dirty else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def versions(*packages: str) -> dict[str, str]:
    """Return the version of each of `packages` that is installed; `mumu_jax` need not be."""
    installed = {}
    for package in packages:
        try:
            installed[package] = __version__ if package == "mumu_jax" else metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return installed
