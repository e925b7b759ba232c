"""`mumu_jax.train` in a process that ends itself at a chosen moment: `python killed_train.py MOMENT ARGUMENTS…`.

MOMENT is `chunk:N` (SIGKILL once the Nth chunk of this process is computed, before anything is written of it),
`save:N` (SIGKILL while the Nth checkpoint is being written) or `term:N` (SIGTERM during the Nth chunk).
"""

import os
import signal
import sys

from mumu_jax import loop
from mumu_jax.checkpoint import Checkpoints
from mumu_jax.cli import run_command
from mumu_jax.train import main

moment, count = sys.argv[1].split(":")
calls = 0


def is_time() -> bool:
    global calls
    calls += 1
    return calls == int(count)


if moment == "save":
    save = Checkpoints.save

    def save_and_die(self, *arguments):
        save(self, *arguments)  # returns while the files are still being written
        if is_time():
            os.kill(os.getpid(), signal.SIGKILL)

    Checkpoints.save = save_and_die
else:
    compute = loop._train_chunk

    def compute_and_die(*arguments):
        done = compute(*arguments)
        if is_time():
            os.kill(os.getpid(), signal.SIGKILL if moment == "chunk" else signal.SIGTERM)
        return done

    loop._train_chunk = compute_and_die

run_command(main, sys.argv[2:])
