"""Checkpoints: the whole of what training carries, written at once, the last and the best kept."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from mumu_jax.compute.state import TrainState
from mumu_jax.errors import UserError


@dataclass
class Progress:
    """Where the loop stands: what, beside the state and the loader's position, decides what comes next."""

    best_loss: float = math.inf  # smallest validation loss so far, and the step it was measured at
    best_step: int = 0
    epochs_without_gain: int = 0
    finished: bool = False
    metrics_bytes: int = 0  # length of metrics.jsonl; what lies beyond was not yet saved and is written again


class Checkpoints:
    """The checkpoints of one network's training, in `folder`.

    One checkpoint holds the state, the progress and the loader's position: either all of a moment or nothing.
    """

    def __init__(self, folder: Path, read_only: bool = False) -> None:
        self._best_step = 0
        options = ocp.CheckpointManagerOptions(
            preservation_policy=self, read_only=read_only, create=not read_only, cleanup_tmp_directories=not read_only
        )
        self._manager = ocp.CheckpointManager(
            folder.absolute(), options=options, item_names=("state", "progress", "data")
        )

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> Sequence[bool]:
        """Orbax asks which checkpoints stay (its `PreservationPolicy`)."""
        return [c.step in (checkpoints[-1].step, self._best_step) for c in checkpoints]

    def save(self, state: TrainState, progress: Progress, data_state: dict[str, Any]) -> None:
        """Writes in the background; `close` waits for it."""
        self._best_step = progress.best_step
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(_filled(state)),  # pyright: ignore[reportCallIssue]
            progress=ocp.args.JsonSave(dataclasses.asdict(progress)),  # pyright: ignore[reportCallIssue]
            data=ocp.args.JsonSave(data_state),  # pyright: ignore[reportCallIssue]
        )
        self._manager.save(int(state.step), args=items)

    def restore_last(self, like: TrainState) -> tuple[TrainState, Progress, dict[str, Any]] | None:
        """The newest complete checkpoint in the shapes and shardings of `like`; None where there is none."""
        step = self._manager.latest_step()
        return None if step is None else self._restore(step, like)

    def restore_best(self, like: TrainState) -> TrainState:
        """The state with the smallest validation loss.  Raises UserError where training has not come to its end."""
        last = self.restore_last(like)
        if last is None or not last[1].finished:
            folder = self._manager.directory
            raise UserError(
                f"the {folder.name} network in {folder.parent} is not trained to its end; its own command resumes it"
            )
        return self._restore(last[1].best_step, like)[0]

    def close(self) -> None:
        self._manager.wait_until_finished()
        self._manager.close()

    def last_step(self) -> int | None:
        """Of the newest complete checkpoint; None where there is none."""
        return self._manager.latest_step()

    def _restore(self, step: int, like: TrainState) -> tuple[TrainState, Progress, dict[str, Any]]:
        abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), _filled(like))
        items = ocp.args.Composite(
            state=ocp.args.StandardRestore(abstract),  # pyright: ignore[reportCallIssue]
            progress=ocp.args.JsonRestore(),
            data=ocp.args.JsonRestore(),
        )
        try:
            found = self._manager.restore(step, args=items)
            progress = Progress(**found["progress"])
        except (ValueError, FileNotFoundError, KeyError, TypeError) as error:
            raise UserError(
                f"checkpoint {self._manager.directory / str(step)} cannot be read ({str(error).splitlines()[0]}); "
                f"remove that folder to go on from the one before, or use another --workdir"
            ) from error
        self._best_step = progress.best_step
        return dataclasses.replace(like, **found["state"]), progress, found["data"]


def _filled(state: TrainState) -> dict[str, Any]:
    """The state's fields but those without an array, so that a run reads what it wrote before the field was there."""
    fields = {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
    return {name: value for name, value in fields.items() if jax.tree.leaves(value)}
