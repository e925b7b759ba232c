"""Cooperation of several processes, on one host or many, that train one network together."""

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from mumu_jax.errors import UserError

# Variables by which srun and mpirun tell how many processes they started.  (SLURM_NTASKS is also set without srun.)
_SIZES = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")


def join(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    """Connect to the other processes, if there are any.  Call this before the first use of a device.

    `coordinator` is HOST:PORT of process 0, or `auto`: JAX finds all three values in the cluster's environment (SLURM,
    Open MPI, a TPU slice, Kubernetes).  `auto` is the default if srun or mpirun started several processes.

    Raises UserError if the three arguments do not go together, or if the other processes cannot be reached.
    """
    if coordinator is None and num_processes is None and process_id is None:
        if not _is_one_of_many(os.environ):
            return
        coordinator = "auto"
    explicit = coordinator not in (None, "auto")
    if explicit != (num_processes is not None) or explicit != (process_id is not None):
        raise UserError(
            f"--coordinator={coordinator}, --num_processes={num_processes} and --process_id={process_id} do not go "
            "together; give all three (HOST:PORT of process 0, their number, 0 to number - 1), or --coordinator=auto"
        )
    if num_processes is not None and process_id is not None and not 0 <= process_id < num_processes:
        raise UserError(f"--process_id is {process_id}; it must be from 0 to --num_processes - 1, {num_processes - 1}")
    try:
        jax.distributed.initialize(coordinator if explicit else None, num_processes, process_id)
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"cannot reach the other processes ({' '.join(str(error).split())}); start all of them, with the same "
            "--coordinator=HOST:PORT, --num_processes=N and each its own --process_id"
        ) from error
    if not is_main():
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  only process 0 prints, to the end


def _is_one_of_many(environment: Mapping[str, str]) -> bool:
    return any(environment.get(name, "1") not in ("", "0", "1") for name in _SIZES)


def is_main() -> bool:
    """Return whether this is the process that writes files and prints."""
    return jax.process_index() == 0


def main_first(action: Callable[[], Any], name: str) -> None:
    """Call `action` in the main process while the others wait; an error there is raised in all of them."""
    error: Exception | None = None
    if is_main():
        try:
            action()
        except Exception as failed:  # the others would wait for ever
            error = failed
    if any_of_all(error is not None)[0]:
        raise error or UserError(f"process 0 could not make {name}; its own message says why")


def any_of_all(*flags: bool) -> list[bool]:
    """Return for each flag whether it is true in any process.  Every process must call this at the same point.

    With several processes, this waits for everything that was dispatched before.
    """
    if jax.process_count() == 1:
        return list(flags)
    return multihost_utils.process_allgather(np.array(flags)).any(axis=0).tolist()


def least_of_all(value: float) -> float:
    """Return the smallest of the processes' values.  Every process must call this at the same point."""
    if jax.process_count() == 1:
        return value
    return float(multihost_utils.process_allgather(np.float32(value)).min())
