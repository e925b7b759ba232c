"""The loop that trains one network: chunks of steps, validation after each epoch, early stopping, checkpoints.

The best variables stay on the devices.  A checkpoint is written every few minutes, at a stop and at the end: epochs may
take a fraction of a second, and a state hundreds of megabytes.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float

from mumu_jax.batch import Batch
from mumu_jax.compute import devices
from mumu_jax.compute.network import Constants, Network
from mumu_jax.compute.optim import make_optimizer
from mumu_jax.compute.predict import predict
from mumu_jax.compute.stages import epoch_note, stages_of
from mumu_jax.compute.state import TrainState, create_state
from mumu_jax.config import Config, OptimSettings
from mumu_jax.data.loader import Schedule
from mumu_jax.errors import UserError
from mumu_jax.objectives import metrics
from mumu_jax.system import processes
from mumu_jax.system.signals import Interrupted, StopRequest
from mumu_jax.system.terminal import progress_bar
from mumu_jax.training.checkpoint import Checkpoints, Progress
from mumu_jax.training.feed import Feed
from mumu_jax.training.log import MetricsLog, PhaseLog
from mumu_jax.training.selection import after_epoch, selecting_loss


@dataclass(frozen=True)
class Run:
    """Everything that the phases of one run share."""

    config: Config
    workdir: Path
    mesh: Mesh
    log: MetricsLog
    stop: StopRequest
    seen: Bool[np.ndarray, " labels"]  # labels with a positive in training


@dataclass(frozen=True)
class Task:
    """One phase: the network to train, and its data."""

    phase: str  # track or album
    network: Network
    constants: Constants
    train: Feed
    val: Feed
    optim: OptimSettings
    start: Callable[[TrainState], TrainState] = lambda state: state  # with other weights than random ones


def fit(task: Task, run: Run) -> Any:
    """Train until early stopping or `optim.max_epochs`; return the variables with the smallest validation loss.

    Resumes from the checkpoints in `run.workdir/task.phase` and ends, byte for byte, where an uninterrupted run
    ends.  Raises Interrupted after a signal, when all is saved, and UserError on a loss that is not finite, leaving
    the last good checkpoint.
    """
    # Optimizer and state
    schedule = Schedule(len(task.train.items), task.optim.batch_size, run.config.loop.chunk_steps, run.config.seed)
    tx = make_optimizer(task.optim, task.network.trainable, schedule.epoch_steps)
    checkpoints = Checkpoints(run.workdir / task.phase)
    state, best, progress, next_chunk = _restore_or_start(task, run, tx, checkpoints)
    run.log.go_on_from(progress.metrics_bytes)
    log = PhaseLog(run.log, task.phase, schedule.epoch_steps)
    if progress.finished:
        checkpoints.close()
        return best

    # Compiled programs and the first input
    started_at, step = time.monotonic(), int(state.step)
    constants = devices.put_replicated(task.constants, run.mesh)
    train_chunk = _compile(task, run, tx, schedule, (state, constants))
    compiled_at = time.monotonic()
    chunks = task.train.chunks(schedule, range(next_chunk, task.optim.max_epochs * schedule.epoch_chunks))
    chunk, meter = next(chunks, None), _Meter()
    log.perf(step, {"perf/compile_s": compiled_at - started_at, "perf/first_input_s": meter.measured_at - compiled_at})

    # The loop.  The host is a chunk ahead: while the devices compute one, it fetches the next, and dispatches that
    # before it looks at the results of the one before.
    dispatched: deque[_Dispatched] = deque()
    saved_at, epoch_at = time.monotonic(), math.nan  # NaN in an epoch that another process began
    stage_starts = {stage.first_epoch * schedule.epoch_steps for stage in stages_of(task.optim)[1:]}
    n_steps = task.optim.max_epochs * schedule.epoch_steps
    with progress_bar(n_steps, f"{task.phase} network", step, processes.is_main()) as bar:
        while not progress.finished:
            # Train on a chunk, and fetch the next one meanwhile
            assert chunk is not None, "the schedule ends with the last epoch"
            if step in stage_starts:
                state, progress = _with_variables(state, best), replace(progress, epochs_without_gain=0)
            epoch_at = time.monotonic() if step % schedule.epoch_steps == 0 else epoch_at
            n_items = schedule.n_items_of(schedule.chunk_of(step))
            with jax.transfer_guard("disallow"):  # everything that a step needs is on the devices
                state, losses = train_chunk[len(chunk.mask)](state, chunk, constants)
            step += len(losses)
            dispatched.append(_Dispatched(losses, step, n_items))
            chunk = meter.fetch(chunks, losses)

            # Stop?  Asked once: a signal that comes later waits for the next chunk's save.
            epoch_ended = step % schedule.epoch_steps == 0
            due = time.monotonic() - saved_at >= 60 * run.config.loop.checkpoint_minutes
            stop, due = processes.any_of_all(bool(run.stop), due)

            # Log the chunks that are done
            while len(dispatched) > (0 if epoch_ended or stop or due else 1):
                done = dispatched.popleft()
                bar.advance(len(done.losses), _log_chunk(done, log, meter, progress, task, run, checkpoints))

            # Validate at the end of an epoch
            if epoch_ended:
                progress = _validate(state.variables, constants, progress, step, log, task, run, checkpoints)
                best = _copy(state.variables) if progress.best_step == step else best
                meter.restart()

            # Save
            if stop or due or progress.finished:
                progress = _save(state, best, progress, schedule.chunk_of(step), task, run, checkpoints)
                saved_at = meter.restart()
            if epoch_ended and math.isfinite(epoch_at):
                log.perf(step, {"perf/epoch_s": time.monotonic() - epoch_at})
            if stop:
                checkpoints.close()
                raise Interrupted(f"{run.stop or 'a stop'}: {task.phase} network saved at step {step}")
        bar.finish()
    checkpoints.close()
    return best


# --- state and programs -------------------------------------------------------------------------------------


def _restore_or_start(
    task: Task, run: Run, tx: optax.GradientTransformation, checkpoints: Checkpoints
) -> tuple[TrainState, Any, Progress, int]:
    """Return the state, the best variables so far, the progress and the number of the next chunk.

    They are those of the last checkpoint, if there is one.
    """
    state = jax.jit(
        lambda: create_state(task.network, tx, task.train.items.item, run.config.seed),
        out_shardings=devices.replicated(run.mesh),
    )()
    if (saved := checkpoints.restore_last(state)) is not None:
        state, best, progress, position = saved
        return state, best, progress, position["next_chunk"]
    state = task.start(state)
    checkpoints.frozen.keep(state.variables, task.network.trainable)
    return state, None, Progress(metrics_bytes=run.log.position), 0


def _compile(
    task: Task, run: Run, tx: optax.GradientTransformation, schedule: Schedule, arguments: tuple[TrainState, Constants]
) -> dict[int, devices.TrainChunk]:
    """Return the program of each length that a chunk of the schedule has: an epoch's last one may be shorter."""
    (state, constants), items, compiled = arguments, task.train.items, {}
    for number in (0, schedule.epoch_chunks - 1):
        shape = schedule.rows(number).shape
        if shape[0] not in compiled:
            chunk = devices.abstract_chunk(shape, items.item, items.n_labels, run.mesh)
            compiled[shape[0]] = devices.compile_train_chunk(
                run.config.parallel, run.mesh, task.network, tx, (state, chunk, constants)
            )
    return compiled


@jax.jit
def _copy(variables: Any) -> Any:
    """Return variables that stay when the state is given to the next step, which takes its memory."""
    return jax.tree.map(jnp.copy, variables)


def _with_variables(state: TrainState, variables: Any) -> TrainState:
    """Return the state with copies of these variables; the optimizer's moments stay."""
    copies = _copy(variables)
    return replace(state, params=copies["params"], batch_stats=copies["batch_stats"])


# --- results ------------------------------------------------------------------------------------------------


class _Dispatched(NamedTuple):
    """A chunk that the devices compute, or have computed."""

    losses: Any  # [steps] float32 on the devices
    last_step: int
    n_items: int


class _Meter:
    """A stopwatch of chunks: the time from one to the next, and the share in which the devices waited for input."""

    def __init__(self) -> None:
        self.measured_at = time.monotonic()
        self._waited_s = 0.0

    def fetch(self, chunks: Iterator[Batch], losses: Any) -> Batch | None:
        """Return the next chunk.  The devices waited for it if they have nothing left to do when it is here."""
        start = time.monotonic()
        chunk = next(chunks, None)
        if losses.is_ready():
            self._waited_s += time.monotonic() - start
        return chunk

    def measure(self, n_items: int) -> dict[str, float]:
        """Return the throughput since the last call, in which `n_items` were trained on."""
        now = time.monotonic()
        seconds, waited_s = now - self.measured_at, self._waited_s
        self.measured_at, self._waited_s = now, 0.0
        return {
            "perf/examples_per_s": n_items / seconds,
            "perf/input_wait_fraction": min(waited_s / seconds, 1.0),
        }

    def restart(self) -> float:
        """Leave out what came since the last chunk; return the time."""
        self.measured_at = time.monotonic()
        return self.measured_at


def _log_chunk(
    done: _Dispatched, log: PhaseLog, meter: _Meter, progress: Progress, task: Task, run: Run, checkpoints: Checkpoints
) -> str:
    """Wait for a chunk's losses and log them; return a note for the progress bar."""
    losses: Float[np.ndarray, " steps"] = jax.device_get(done.losses)
    invalid = np.flatnonzero(~np.isfinite(losses))
    if len(invalid):
        step = done.last_step - len(losses) + 1 + int(invalid[0])
        raise _diverged(f"the training loss is {losses[invalid[0]]} at step {step}", task, run, checkpoints)
    measured = meter.measure(done.n_items)
    log.metrics(done.last_step, {"train/loss": float(losses.mean())})
    log.perf(done.last_step, measured)
    note = f"{epoch_note(log.epoch(done.last_step), task.optim)}, loss {losses.mean():.4f}"
    note += f", best val {progress.best_loss:.4f}" if progress.best_step else ""
    return f"{note}, {measured['perf/examples_per_s']:.0f} examples/s"  # last: a narrow terminal leaves it out first


def _validate(
    variables: Any,
    constants: Constants,
    progress: Progress,
    step: int,
    log: PhaseLog,
    task: Task,
    run: Run,
    checkpoints: Checkpoints,
) -> Progress:
    """Validate; return the progress: if this was the best epoch, and if it was the last one."""
    in_order = Schedule(len(task.val.items), task.optim.batch_size, run.config.loop.chunk_steps)
    val_chunks = task.val.chunks(in_order, range(in_order.epoch_chunks))
    predictions = predict(variables, val_chunks, constants, task.network, run.mesh, embed=False)
    if not math.isfinite(predictions.loss):
        if np.isfinite(predictions.scores).all():
            raise UserError("no validation album has a label with a factor; prepare more validation albums")
        raise _diverged(f"the validation loss is {predictions.loss} at step {step}", task, run, checkpoints)
    summary = metrics.summarize(predictions.scores, predictions.labels, run.seen)
    log.metrics(step, {"val/loss": predictions.loss, "val/roc_auc_macro": summary["roc_auc_macro"]})
    loss = selecting_loss(predictions.loss, summary["roc_auc_macro"], task.optim)
    return after_epoch(progress, loss, step, log.epoch(step), task.optim)


def _save(
    state: TrainState, best: Any, progress: Progress, next_chunk: int, task: Task, run: Run, checkpoints: Checkpoints
) -> Progress:
    """Write one checkpoint of everything at this moment, in the background; return the progress in it."""
    if not _all_finite(state.variables):  # the last step's update, which no loss has seen yet
        raise _diverged(f"a parameter is not finite after step {int(state.step)}", task, run, checkpoints)
    run.log.sync()
    progress = replace(progress, metrics_bytes=run.log.position)
    checkpoints.save(state, best, progress, {"next_chunk": next_chunk})
    return progress


@jax.jit
def _all_finite(variables: Any) -> Bool[Array, ""]:
    return jnp.all(jnp.array([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(variables)]))


def _diverged(what: str, task: Task, run: Run, checkpoints: Checkpoints) -> UserError:
    step = checkpoints.last_step()
    checkpoints.close()
    left = f"the last good checkpoint, of step {step}, stays" if step else "nothing was saved yet"
    rates = ", then ".join(f"{stage.learning_rate:g}" for stage in stages_of(task.optim))
    return UserError(
        f"{task.phase} network: {what}; {left} in {run.workdir / task.phase}; train again in another --workdir with a "
        f"smaller learning rate (now {rates})"
    )
