"""Commands of the package, each in a process of its own."""

import os
import subprocess
import sys

from mumu_jax.errors import UserError


def call(name: str, *arguments: str) -> None:
    """Run `python -m mumu_jax.NAME` on the processor.  Raises UserError with what it printed if it fails."""
    command = [sys.executable, "-m", f"mumu_jax.{name}", *arguments]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"mumu_jax.{name} {' '.join(arguments)} failed: {done.stderr.strip()}")
