"""Checkpoints: everything that training carries from step to step, saved as one; the last two are kept."""

import contextlib
import dataclasses
import math
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from mumu_jax.compute.state import TrainState
from mumu_jax.errors import UserError, reason_of
from mumu_jax.system import processes
from mumu_jax.system.disk import naming
from mumu_jax.system.files import check_line_of_utf8
from mumu_jax.system.seals import check_seal, is_sealed, seal
from mumu_jax.training.frozen import Frozen

BEST = "best"


@dataclass
class Progress:
    """Loop state that a checkpoint needs besides the train state and the loader position."""

    best_loss: float = math.inf  # the smallest validation loss so far, as `optim.select` has it
    best_step: int = 0  # the step at which it was measured
    epochs_without_gain: int = 0
    finished: bool = False
    metrics_bytes: int = 0  # length of metrics.jsonl; later bytes belong to steps that are not saved


class Checkpoints:
    """The checkpoints of one network's training, in `folder`.

    A checkpoint holds the state, the progress and the loader position of one step, and the best variables so far if
    they are of another step, without what does not train, which is beside them.  It is written as a whole or not at
    all, and its checksums after it: those of the last one are missing if the process was killed before the next.
    """

    def __init__(self, folder: Path, read_only: bool = False) -> None:
        check_line_of_utf8(folder)
        self._folder = folder
        options = ocp.CheckpointManagerOptions(
            read_only=read_only, create=not read_only, cleanup_tmp_directories=not read_only
        )
        self._manager = ocp.CheckpointManager(
            folder.absolute(), options=options, item_names=("state", BEST, "progress", "data")
        )
        self._sealer = None if read_only or not processes.is_main() else ThreadPoolExecutor(max_workers=1)
        self._sealed: Future[None] | None = None
        last = self.last_step()
        self._unsealed = None if last is None or is_sealed(folder, str(last)) else last
        self.frozen = Frozen(folder)

    def save(self, state: TrainState, best: Any, progress: Progress, data_state: dict[str, Any]) -> None:
        """Start to write a checkpoint in the background; `close` waits for it.

        `best` are the variables of `progress.best_step`, anything if there was no validation yet.
        """
        step = int(state.step)
        items = {
            "state": ocp.args.PyTreeSave(self.frozen.leave_out(vars(state))),  # pyright: ignore[reportCallIssue]
            "progress": ocp.args.JsonSave(dataclasses.asdict(progress)),  # pyright: ignore[reportCallIssue]
            "data": ocp.args.JsonSave(data_state),  # pyright: ignore[reportCallIssue]
        }
        if progress.best_step not in (0, step):
            items[BEST] = ocp.args.PyTreeSave(self.frozen.leave_out(best))  # pyright: ignore[reportCallIssue]
        with naming(self._folder):
            self._manager.wait_until_finished()
            for older in sorted(self._manager.all_steps())[:-1]:  # before, so that there is never room for three
                self._manager.delete(older)
            self._manager.save(step, args=ocp.args.Composite(**items))
            self._seal_one_before()
        self._unsealed = step

    def restore_last(self, like: TrainState) -> tuple[TrainState, Any, Progress, dict[str, Any]] | None:
        """Return what `save` was given last, in the shapes and shardings of `like`; None if there is no checkpoint."""
        step = self.last_step()
        if step is None:
            return None
        restored = self._read(step, str(step), state=_arguments(self.frozen.leave_out(vars(like))))
        state = dataclasses.replace(like, **self.frozen.put_back(restored["state"], vars(like)))
        progress = restored["progress"]
        if progress.best_step == 0:
            best = None
        elif progress.best_step == step:
            best = jax.tree.map(jnp.copy, state.variables)
        else:
            best = self._read_best(step, progress, like.variables)
        return state, best, progress, restored["data"]

    def restore_best(self, like: Mapping[str, Any]) -> dict[str, Any]:
        """Return the variables of the least validation loss, alone; raises UserError if training has not finished."""
        last = self.last_step()
        progress = Progress() if last is None else self._read(last, f"{last}/progress", f"{last}/data")["progress"]
        if last is None or not progress.finished:
            name, run = self._folder.name, self._folder.parent
            raise UserError(f"the {name} network in {run} is not trained to its end; its own command resumes it")
        return self._read_best(last, progress, like)

    def _read_best(self, last: int, progress: Progress, like: Mapping[str, Any]) -> dict[str, Any]:
        """Return the best variables: in the last checkpoint, as its state if that is the best, or in the best one."""
        if (self._manager.directory / str(last) / BEST).exists():
            step, item = last, BEST
        else:  # earlier versions kept the checkpoint of the best step
            step, item = progress.best_step, "state"
        arguments = _arguments(self.frozen.leave_out(like), partial_restore=True)
        return self.frozen.put_back(self._read(step, str(step), **{item: arguments})[item], like)

    def close(self) -> None:
        """Wait until everything is written."""
        with naming(self._folder):
            self._manager.wait_until_finished()
            self._seal_one_before()
            self._manager.close()
            if self._sealed is not None:
                self._sealed.result()
        if self._sealer is not None:
            self._sealer.shutdown()

    def last_step(self) -> int | None:
        """Return the step of the newest complete checkpoint, or None if there is none."""
        return self._manager.latest_step()

    def _seal_one_before(self) -> None:
        """Start to record the checksums of the checkpoint that was finished last; its files are read in a thread."""
        if self._sealer is not None and self._unsealed is not None:
            if self._sealed is not None:
                self._sealed.result()  # raises what the thread met
            self._sealed = self._sealer.submit(_seal_step, self._folder, self._unsealed)
            self._unsealed = None

    def _read(self, step: int, *files: str, **state: Any) -> dict[str, Any]:
        """Check `files`, and read progress and position of a checkpoint, or more; raises UserError if either fails."""
        folder = self._manager.directory / str(step)
        remedy = f"remove {folder} to go on from the one before, or use another --workdir"
        check_seal(self._folder, remedy, *files)
        items = ocp.args.Composite(progress=ocp.args.JsonRestore(), data=ocp.args.JsonRestore(), **state)
        try:
            restored = dict(self._manager.restore(step, args=items))
            restored["progress"] = Progress(**restored["progress"])
            for path, leaf in jax.tree_util.tree_leaves_with_path([restored.get(name) for name in state]):
                if isinstance(leaf, jax.ShapeDtypeStruct):  # a partial restore returns what is missing as it was asked
                    raise ValueError(f"it has no {jax.tree_util.keystr(path[1:])}")
        except (ValueError, FileNotFoundError, KeyError, TypeError) as error:
            raise UserError(f"checkpoint {folder} cannot be read ({reason_of(error)}); {remedy}") from error
        return restored


def _seal_step(folder: Path, step: int) -> None:
    with contextlib.suppress(FileNotFoundError):  # it is no longer kept
        seal(folder, str(step))


def _arguments(like: Mapping[str, Any], **how: Any) -> Any:
    """Return Orbax's arguments to restore fields of a state in the shapes and shardings of `like`."""
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
    arguments = ocp.checkpoint_utils.construct_restore_args(abstract)
    return ocp.args.PyTreeRestore(abstract, restore_args=arguments, **how)  # pyright: ignore[reportCallIssue]
