"""The versions of the code and of the packages it runs on."""

import subprocess
from importlib import metadata
from pathlib import Path

from mumu_jax import __version__

CODE = (":/mumu_jax", ":/configs", ":/benchmarks", ":/pyproject.toml")


def commit() -> str | None:
    """Return the short hash of the package's checkout, with `+dirty` if its code differs; None without a checkout.

    Only code counts: runs, models and results of benchmarks may be stored in the checkout.
    """
    here = Path(__file__)

    def git(*arguments: str) -> str:
        command = ["git", "--no-optional-locks", "-C", str(here.parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", here.name)  # fails if the package is installed inside another checkout
        dirty = git("status", "--porcelain", "--", *CODE, ":(top,exclude)benchmarks/results")
        return git("rev-parse", "--short", "HEAD") + ("+dirty" if dirty else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def versions(*packages: str) -> dict[str, str]:
    """Return the version of each of `packages` that is installed; `mumu_jax` need not be."""
    found = {}
    for package in packages:
        try:
            found[package] = __version__ if package == "mumu_jax" else metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
