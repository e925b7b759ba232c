"""`mumu_jax.train` in a process that comes to harm at a chosen moment: `python killed_train.py MOMENT ARGUMENTS…`.

MOMENT is `chunk:N` (SIGKILL once the Nth chunk of this process is computed, before anything is written of it),
`save:N` (SIGKILL while a checkpoint is half written, the Nth or the first after it that is seen so), `term:N`
(SIGTERM during the Nth chunk) or `nan:N` (the Nth chunk's last update makes the parameters NaN).
"""

import os
import signal
import sys

import jax
import jax.numpy as jnp

from mumu_jax.system.terminal import run_command
from mumu_jax.train import main
from mumu_jax.training import loop
from mumu_jax.training.checkpoint import Checkpoints

moment, count = sys.argv[1].split(":")
calls = 0


def count_call() -> int:
    """How many calls are still to come: 0 now, below 0 when it is past."""
    global calls
    calls += 1
    return int(count) - calls


if moment == "save":
    save = Checkpoints.save

    def save_and_die(self, *arguments):
        save(self, *arguments)  # returns while the files are still being written
        unfinished = any("tmp" in path.name for path in self._manager.directory.iterdir())
        if count_call() <= 0 and unfinished:
            os.kill(os.getpid(), signal.SIGKILL)

    Checkpoints.save = save_and_die
else:
    compile_programs = loop._compile

    def suffering(program):
        def compute_and_suffer(*arguments):
            state, losses = jax.block_until_ready(program(*arguments))
            if count_call() == 0:
                if moment == "nan":
                    with jax.transfer_guard("allow"):
                        params = jax.tree.map(lambda leaf: leaf * jnp.nan, state.params)
                    return state.replace(params=params), losses
                os.kill(os.getpid(), signal.SIGKILL if moment == "chunk" else signal.SIGTERM)
            return state, losses

        return compute_and_suffer

    def compile_and_suffer(*arguments):
        return {length: suffering(program) for length, program in compile_programs(*arguments).items()}

    loop._compile = compile_and_suffer

run_command(main, sys.argv[2:])
