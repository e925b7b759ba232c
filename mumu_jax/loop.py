"""The loop that trains one network: chunks of steps, validation after each epoch, early stopping, checkpoints."""

import math
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool

from mumu_jax import metrics, parallel, progress
from mumu_jax.checkpoint import Checkpoints, Progress
from mumu_jax.config import Config, OptimSettings
from mumu_jax.data.loader import Items, batches, steps_per_epoch, train_chunks
from mumu_jax.errors import UserError
from mumu_jax.log import MetricsLog
from mumu_jax.objective import Constants
from mumu_jax.optim import make_optimizer
from mumu_jax.predict import predict
from mumu_jax.signals import Interrupted, StopWish
from mumu_jax.state import create_state
from mumu_jax.step import Network, train_chunk

_train_chunk = partial(jax.jit, static_argnames=("network", "tx"), donate_argnames="state")(train_chunk)


@jax.jit
def _all_finite(params: Any) -> Bool[Array, ""]:
    return jnp.all(jnp.array([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(params)]))


@dataclass(frozen=True)
class Run:
    """What the phases of one run share."""

    config: Config
    workdir: Path
    mesh: Mesh
    log: MetricsLog
    stop: StopWish
    seen: Bool[np.ndarray, " labels"]  # labels with a positive in training


@dataclass(frozen=True)
class Task:
    """What one phase trains, on what."""

    phase: str  # track or album
    network: Network
    constants: Constants
    train: Items
    val: Items
    optim: OptimSettings


def fit(task: Task, run: Run) -> Any:
    """Train until early stopping or `optim.max_epochs`: the parameters with the smallest validation loss.

    Resumes from the checkpoints in `run.workdir/task.phase` and ends, byte for byte, where an uninterrupted run
    ends.  Raises Interrupted after a signal, when all is saved, and UserError on a loss that is not finite, leaving
    the last good checkpoint.
    """
    training = _Training(task, run)
    n_steps = task.optim.max_epochs * training.epoch_steps
    with progress.bar(n_steps, f"{task.phase} network", done=training.step) as bar:
        while not training.reached.finished:
            before = training.step
            note = training.run_chunk()
            if epoch_ended := training.step % training.epoch_steps == 0:
                training.end_epoch()
            stop = bool(run.stop)  # asked once: a signal that comes later waits for the next chunk's save
            if epoch_ended or stop or training.save_is_due():
                training.save()
            if training.reached.best_step:
                note += f", best val loss {training.reached.best_loss:.4f}"
            bar.advance(training.step - before, note)
            if stop:
                training.checkpoints.close()
                raise Interrupted(f"{run.stop}: {task.phase} network saved at step {training.step}")
        bar.finish()
    return training.best_params()


class _Training:
    """One network's training between its checkpoints."""

    def __init__(self, task: Task, run: Run) -> None:
        self.task, self.run, loop = task, run, run.config.loop
        self.epoch_steps = steps_per_epoch(len(task.train), task.optim.batch_size)
        threads = run.config.data.read_threads
        self._chunks = train_chunks(task.train, task.optim.batch_size, loop.chunk_steps, run.config.seed, threads)
        self._tx = make_optimizer(task.optim)
        state = create_state(task.network.model, self._tx, task.train.item_shape, run.config.seed)
        self._state, self._constants = parallel.put_replicated((state, task.constants), run.mesh)
        self.reached = Progress(metrics_bytes=run.log.position)
        self.checkpoints = Checkpoints(run.workdir / task.phase)
        if (saved := self.checkpoints.restore_last(self._state)) is not None:
            self._state, self.reached, position = saved
            self._chunks.set_state(position)
        run.log.position = self.reached.metrics_bytes
        self.step = int(self._state.step)
        self._saved_at = time.monotonic()

    def run_chunk(self) -> str:
        """The next chunk of steps; what to say of it."""
        start = time.monotonic()
        host_chunk = next(self._chunks)
        chunk = parallel.put_chunk(host_chunk, self.run.mesh)
        waited = time.monotonic() - start
        self._state, device_losses = _train_chunk(self._state, chunk, self._constants, self.task.network, self._tx)
        losses = np.asarray(device_losses)
        seconds = time.monotonic() - start
        bad = np.flatnonzero(~np.isfinite(losses))
        if len(bad):
            raise self._diverged(f"the training loss is {losses[bad[0]]} at step {self.step + int(bad[0]) + 1}")
        self.step += len(losses)
        rate = float(host_chunk.mask.sum()) / seconds
        self._log({"train/loss": float(losses.mean())})
        self.run.log.perf(
            self.task.phase, self._epoch(), self.step, {"perf/examples_per_s": rate, "perf/input_wait_s": waited}
        )
        return f"epoch {self._epoch() + 1}, loss {losses.mean():.4f}, {rate:.0f} examples/s"

    def end_epoch(self) -> None:
        """Validate; then decide whether this was the best epoch, and whether it was the last."""
        task, reached = self.task, self.reached
        val_batches = batches(task.val, task.optim.batch_size, self.run.config.data.read_threads)
        found = predict(self._state.params, val_batches, self._constants, task.network, self.run.mesh)
        if not math.isfinite(found.loss):
            if np.isfinite(found.scores).all():
                raise UserError("no validation album has a label with a factor; prepare more validation albums")
            raise self._diverged(f"the validation loss is {found.loss} at step {self.step}")
        scored = metrics.summarize(found.scores, found.labels, self.run.seen)
        self._log({"val/loss": found.loss, "val/roc_auc_macro": scored["roc_auc_macro"]})
        if found.loss < reached.best_loss:
            reached = replace(reached, best_loss=found.loss, best_step=self.step, epochs_without_gain=0)
        else:
            reached = replace(reached, epochs_without_gain=reached.epochs_without_gain + 1)
        last = reached.epochs_without_gain >= task.optim.patience or self._epoch() + 1 >= task.optim.max_epochs
        self.reached = replace(reached, finished=last)

    def save_is_due(self) -> bool:
        return time.monotonic() - self._saved_at >= 60 * self.run.config.loop.checkpoint_minutes

    def save(self) -> None:
        """All of this moment as one checkpoint, written in the background, in the place of the one before."""
        if not _all_finite(self._state.params):  # the last step's update, which no loss has seen yet
            raise self._diverged(f"a parameter is not finite after step {self.step}")
        self.run.log.sync()
        self.reached = replace(self.reached, metrics_bytes=self.run.log.position)
        self.checkpoints.save(self._state, self.reached, self._chunks.get_state())
        self._saved_at = time.monotonic()

    def best_params(self) -> Any:
        best = self.checkpoints.restore_best(self._state)
        self.checkpoints.close()
        return best.params

    def _epoch(self) -> int:
        """Of the last step taken, from 0."""
        return (self.step - 1) // self.epoch_steps

    def _log(self, values: dict[str, float]) -> None:
        # JSON has no NaN: a metric without a value, such as the AUC where no label can be scored, is left out.
        defined = {name: value for name, value in values.items() if math.isfinite(value)}
        self.run.log.metrics(self.task.phase, self._epoch(), self.step, defined)

    def _diverged(self, what: str) -> UserError:
        phase, good = self.task.phase, self.checkpoints.last_step()
        self.checkpoints.close()
        left = f"the last good checkpoint, of step {good}, stays" if good else "nothing was saved yet"
        return UserError(
            f"{phase} network: {what}; {left} in {self.run.workdir / phase}; train anew in another --workdir with a "
            f"smaller learning rate (now {self.task.optim.learning_rate:g})"
        )
