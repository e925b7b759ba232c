"""The versions of the code (its commit, and the files that differ from it) and of the packages it runs on."""

import subprocess
from importlib import metadata
from pathlib import Path

from mumu_jax import __version__

CODE = (":/mumu_jax", ":/configs", ":/benchmarks", ":/pyproject.toml")
# Written by the benchmarks themselves.
RESULTS = (":(top,exclude)benchmarks/results", ":(top,exclude)benchmarks/README.md")


def commit() -> str | None:
    """Return the short hash of the package's checkout, with `+dirty` if code differs from it; None without a checkout.

    Only code counts: runs, models and results of benchmarks may be in the checkout.
    """
    files, head = changed_files(), _git("rev-parse", "--short", "HEAD")
    return None if files is None or head is None else head.strip() + ("+dirty" if files else "")


def changed_files() -> list[str] | None:
    """Return the files of code that differ from the last commit, or are new; None without a checkout."""
    if _git("ls-files", "--error-unmatch", Path(__file__).name) is None:  # installed inside another project's checkout
        return None
    status = _git("status", "--porcelain", "-z", "--no-renames", "--", *CODE, *RESULTS)
    return None if status is None else [line[3:] for line in status.split("\0") if line]


def _git(*arguments: str) -> str | None:
    command = ["git", "--no-optional-locks", "-C", str(Path(__file__).parent), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
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
