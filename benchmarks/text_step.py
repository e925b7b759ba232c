"""`python -m benchmarks.text_step`: train the text network with its sparse first layer, beside a dense one.

The same batches are on the device both ways, as in `benchmarks.train_step`.  PyTorch's step is dense.  It needs as few
packages as `benchmarks.device`.
"""

from collections.abc import Sequence

from benchmarks import train_step
from mumu_jax.system.terminal import run_command


def main(argv: Sequence[str]) -> int:
    """Measure every combination that the command line asks for; 1 if one of them failed."""
    return train_step.run("text_step", __doc__, argv, ["text_vsm"], "text")


if __name__ == "__main__":
    run_command(main)
