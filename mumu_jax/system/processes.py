"""Several processes, on one host or many, that train one network together."""

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from mumu_jax.errors import UserError

# Where srun and mpirun say how many processes they started.  (SLURM_NTASKS is also set where srun did not run.)
_SIZES = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")


def join(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    """Meet the other processes, if there are any; before the first use of a device.

    `coordinator` is HOST:PORT of process 0, or `auto`: all three from the cluster that JAX finds (SLURM, Open MPI, a
    TPU slice, Kubernetes), as is done without being asked where srun or mpirun started several processes.

    Raises UserError on an incomplete answer, and where the others cannot be met.
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
            f"cannot meet the other processes ({' '.join(str(error).split())}); start all of them, with the same "
            "--coordinator=HOST:PORT, --num_processes=N and each its own --process_id"
        ) from error
    if not is_main():
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  one process speaks, to the end


def _is_one_of_many(environment: Mapping[str, str]) -> bool:
    return any(environment.get(name, "1") not in ("", "0", "1") for name in _SIZES)


def is_main() -> bool:
    """Whether this is the process that writes files and speaks."""
    return jax.process_index() == 0


def main_first(action: Callable[[], Any], name: str) -> None:
    """`action` in the main process, while the others wait; an error there is an error everywhere."""
    error: Exception | None = None
    if is_main():
        try:
            action()
        except (UserError, OSError) as failed:
            error = failed
    if any_of_all(error is not None)[0]:
        raise error or UserError(f"process 0 could not make {name}, and says why")


def any_of_all(*flags: bool) -> list[bool]:
    """Each flag: whether it is true in some process.  Every process must ask at the same point.

    With several processes this waits for all that was dispatched before.
    """
    if jax.process_count() == 1:
        return list(flags)
    return multihost_utils.process_allgather(np.array(flags)).any(axis=0).tolist()


def least_of_all(value: float) -> float:
    """The smallest of what the processes give."""
    if jax.process_count() == 1:
        return value
    return float(multihost_utils.process_allgather(np.float32(value)).min())
