"""The loop that trains one network: chunks of steps, validation after each epoch, early stopping, checkpoints."""

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
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float

from mumu_jax.batch import Batch
from mumu_jax.compute import devices
from mumu_jax.compute.network import Network
from mumu_jax.compute.optim import make_optimizer
from mumu_jax.compute.predict import predict
from mumu_jax.compute.state import TrainState, create_state
from mumu_jax.config import Config, OptimSettings
from mumu_jax.data.loader import Schedule
from mumu_jax.errors import UserError
from mumu_jax.objectives import metrics
from mumu_jax.objectives.objective import Constants
from mumu_jax.system import processes
from mumu_jax.system.signals import Interrupted, StopRequest
from mumu_jax.system.terminal import progress_bar
from mumu_jax.training.checkpoint import Checkpoints, Progress
from mumu_jax.training.feed import Feed
from mumu_jax.training.log import MetricsLog


@jax.jit
def _all_finite(variables: Any) -> Bool[Array, ""]:
    return jnp.all(jnp.array([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(variables)]))


@dataclass(frozen=True)
class Run:
    """What the phases of one run share."""

    config: Config
    workdir: Path
    mesh: Mesh
    log: MetricsLog
    stop: StopRequest
    seen: Bool[np.ndarray, " labels"]  # labels with a positive in training


@dataclass(frozen=True)
class Task:
    """What one phase trains, on what."""

    phase: str  # track or album
    network: Network
    constants: Constants
    train: Feed
    val: Feed
    optim: OptimSettings
    start: Callable[[TrainState], TrainState] = lambda state: state  # with other weights than random ones


def fit(task: Task, run: Run) -> Any:
    """Train until early stopping or `optim.max_epochs`: the variables with the smallest validation loss.

    Resumes from the checkpoints in `run.workdir/task.phase` and ends, byte for byte, where an uninterrupted run
    ends.  Raises Interrupted after a signal, when all is saved, and UserError on a loss that is not finite, leaving
    the last good checkpoint.
    """
    training = _Training(task, run)
    n_steps = task.optim.max_epochs * training.schedule.epoch_steps
    with progress_bar(n_steps, f"{task.phase} network", training.step, processes.is_main()) as bar:
        while not training.reached.finished:
            training.dispatch()
            epoch_ended = training.step % training.schedule.epoch_steps == 0
            # Asked once: a signal that comes later waits for the next chunk's save.
            stop, due = processes.any_of_all(bool(run.stop), training.save_is_due())
            save = epoch_ended or stop or due
            for n_done, note in training.collect(leave=0 if save else 1):
                bar.advance(n_done, note)
            if epoch_ended:
                training.end_epoch()
            if save:
                training.save()
            if stop:
                training.checkpoints.close()
                raise Interrupted(f"{run.stop or 'a stop'}: {task.phase} network saved at step {training.step}")
        bar.finish()
    return training.best_variables()


class _Dispatched(NamedTuple):
    """A chunk that the devices compute, or have computed."""

    losses: Any  # [steps] float32 on the devices
    last_step: int
    n_items: int


class _Training:
    """One network's training between its checkpoints.

    The host is a chunk ahead: while the devices compute one, the next is fetched, and its steps are dispatched before
    the results of the one before are looked at.
    """

    def __init__(self, task: Task, run: Run) -> None:
        self.task, self.run, loop = task, run, run.config.loop
        self.schedule = Schedule(len(task.train.items), task.optim.batch_size, loop.chunk_steps, run.config.seed)
        self._tx = make_optimizer(task.optim, task.network.trainable, self.schedule.epoch_steps)
        item = task.train.items.item
        self._state = jax.jit(
            lambda: create_state(task.network, self._tx, item, run.config.seed),
            out_shardings=devices.replicated(run.mesh),
        )()
        self._constants = devices.put_replicated(task.constants, run.mesh)
        self._dispatched: deque[_Dispatched] = deque()
        self.reached = Progress(metrics_bytes=run.log.position)
        self.checkpoints = Checkpoints(run.workdir / task.phase)
        next_chunk = 0
        if (saved := self.checkpoints.restore_last(self._state)) is not None:
            self._state, self.reached, position = saved
            next_chunk = position["next_chunk"]
        else:
            self._state = task.start(self._state)
        run.log.position = self.reached.metrics_bytes
        self.step = int(self._state.step)
        self._starved_s, self._saved_at = 0.0, time.monotonic()
        self._epoch_at: float | None = None  # when the epoch began; None in one that another process began
        if not self.reached.finished:
            self._prepare(range(next_chunk, task.optim.max_epochs * self.schedule.epoch_chunks))

    def _prepare(self, chunks: range) -> None:
        """All that comes once, before the first step."""
        start = time.monotonic()
        self._train_chunk = self._compile()
        compiled = time.monotonic()
        self._chunks = self.task.train.chunks(self.schedule, chunks)
        self._next = next(self._chunks, None)
        self._collected_at = time.monotonic()
        measured = {"perf/compile_s": compiled - start, "perf/first_input_s": self._collected_at - compiled}
        self._log_perf(self.step, measured)

    def dispatch(self) -> None:
        """Start the next chunk's steps; fetch the chunk after it meanwhile."""
        assert self._next is not None, "the schedule ends with the last epoch"
        if self.step % self.schedule.epoch_steps == 0:
            self._epoch_at = time.monotonic()
        n_items = int(np.count_nonzero(self.schedule.rows(self.schedule.chunk_of(self.step)) < self.schedule.n_items))
        self._state, losses = self._compute(self._next)
        self.step += len(losses)
        self._dispatched.append(_Dispatched(losses, self.step, n_items))
        self._fetch()

    def _compute(self, chunk: Batch) -> tuple[Any, Float[Array, " steps"]]:
        with jax.transfer_guard("disallow"):  # all that a step needs is on the devices
            return self._train_chunk[len(chunk.mask)](self._state, chunk, self._constants)

    def _compile(self) -> dict[int, devices.TrainChunk]:
        """The program of each length that a chunk of the schedule has: an epoch's last one may be shorter."""
        items, network, mesh = self.task.train.items, self.task.network, self.run.mesh
        compiled = {}
        for number in (0, self.schedule.epoch_chunks - 1):
            shape = self.schedule.rows(number).shape
            if shape[0] not in compiled:
                chunk = devices.abstract_chunk(shape, items.item, items.n_labels, mesh)
                arguments = (self._state, chunk, self._constants)
                compiled[shape[0]] = devices.compile_train_chunk(
                    self.run.config.parallel, mesh, network, self._tx, arguments
                )
        return compiled

    def _fetch(self) -> None:
        """The next chunk.  It was late if the devices have nothing left to do when it is here."""
        start = time.monotonic()
        self._next = next(self._chunks, None)
        if self._dispatched[-1].losses.is_ready():
            self._starved_s += time.monotonic() - start

    def collect(self, leave: int) -> Iterator[tuple[int, str]]:
        """Wait for all dispatched chunks but the last `leave`: the steps of each, and what to say of it."""
        while len(self._dispatched) > leave:
            done = self._dispatched.popleft()
            losses = jax.device_get(done.losses)
            first_step, epoch = done.last_step - len(losses) + 1, self._epoch(done.last_step)
            bad = np.flatnonzero(~np.isfinite(losses))
            if len(bad):
                raise self._diverged(f"the training loss is {losses[bad[0]]} at step {first_step + int(bad[0])}")
            now = time.monotonic()
            seconds, self._collected_at = now - self._collected_at, now
            rate, starved, self._starved_s = done.n_items / seconds, self._starved_s / seconds, 0.0
            self._log(done.last_step, {"train/loss": float(losses.mean())})
            measured = {"perf/examples_per_s": rate, "perf/input_wait_fraction": min(starved, 1.0)}
            self._log_perf(done.last_step, measured)
            note = f"epoch {epoch + 1}, loss {losses.mean():.4f}, {rate:.0f} examples/s"
            if self.reached.best_step:
                note += f", best val loss {self.reached.best_loss:.4f}"
            yield len(losses), note

    def end_epoch(self) -> None:
        """Validate; then decide whether this was the best epoch, and whether it was the last."""
        task, reached = self.task, self.reached
        in_order = Schedule(len(task.val.items), task.optim.batch_size, self.schedule.chunk_steps)
        val_chunks = task.val.chunks(in_order, range(in_order.epoch_chunks))
        found = predict(self._state.variables, val_chunks, self._constants, task.network, self.run.mesh, embed=False)
        if not math.isfinite(found.loss):
            if np.isfinite(found.scores).all():
                raise UserError("no validation album has a label with a factor; prepare more validation albums")
            raise self._diverged(f"the validation loss is {found.loss} at step {self.step}")
        scored = metrics.summarize(found.scores, found.labels, self.run.seen)
        self._log(self.step, {"val/loss": found.loss, "val/roc_auc_macro": scored["roc_auc_macro"]})
        if self._epoch_at is not None:
            self._log_perf(self.step, {"perf/epoch_s": time.monotonic() - self._epoch_at})
        if found.loss < reached.best_loss:
            reached = replace(reached, best_loss=found.loss, best_step=self.step, epochs_without_gain=0)
        else:
            reached = replace(reached, epochs_without_gain=reached.epochs_without_gain + 1)
        epoch = self._epoch(self.step)
        last = reached.epochs_without_gain >= task.optim.patience or epoch + 1 >= task.optim.max_epochs
        self.reached = replace(reached, finished=last)

    def save_is_due(self) -> bool:
        return time.monotonic() - self._saved_at >= 60 * self.run.config.loop.checkpoint_minutes

    def save(self) -> None:
        """All of this moment as one checkpoint, written in the background, in the place of the one before."""
        if not _all_finite(self._state.variables):  # the last step's update, which no loss has seen yet
            raise self._diverged(f"a parameter is not finite after step {self.step}")
        self.run.log.sync()
        self.reached = replace(self.reached, metrics_bytes=self.run.log.position)
        self.checkpoints.save(self._state, self.reached, {"next_chunk": self.schedule.chunk_of(self.step)})
        self._saved_at = self._collected_at = time.monotonic()

    def best_variables(self) -> Any:
        best = self.checkpoints.restore_best(self._state)
        self.checkpoints.close()
        return best.variables

    def _epoch(self, step: int) -> int:
        """Of the step with this number (from 1), from 0."""
        return (step - 1) // self.schedule.epoch_steps

    def _log(self, step: int, values: dict[str, float]) -> None:
        # JSON has no NaN: a metric without a value, such as the AUC where no label can be scored, is left out.
        defined = {name: value for name, value in values.items() if math.isfinite(value)}
        self.run.log.metrics(self.task.phase, self._epoch(step), step, defined)

    def _log_perf(self, step: int, values: dict[str, float]) -> None:
        self.run.log.perf(self.task.phase, self._epoch(max(step, 1)), step, values)

    def _diverged(self, what: str) -> UserError:
        phase, good = self.task.phase, self.checkpoints.last_step()
        self.checkpoints.close()
        left = f"the last good checkpoint, of step {good}, stays" if good else "nothing was saved yet"
        return UserError(
            f"{phase} network: {what}; {left} in {self.run.workdir / phase}; train anew in another --workdir with a "
            f"smaller learning rate (now {self.task.optim.learning_rate:g})"
        )
