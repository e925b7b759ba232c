"""Gradient boosting by XGBoost, which the extra `boost` brings: grows the trees of `models/trees.py`.

Of one genre an item, one forest tells all genres apart; of several, each genre has its own, with its own early
stopping.  What is grown is kept genre by genre, so that a stopped run goes on from there.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Float32, Int32, Shaped
from scipy.special import logit

from mumu_jax.compute.network import Constants, Network, see
from mumu_jax.config import Config
from mumu_jax.data.loader import Records
from mumu_jax.data.modalities.inputs import Inputs
from mumu_jax.errors import UserError
from mumu_jax.models.trees import Forest, Trees, identity_layer
from mumu_jax.runs.folder import IMPORTANCE
from mumu_jax.runs.output_layer import initial_state, keep
from mumu_jax.system import processes
from mumu_jax.system.files import read_npz, write_json, write_npz
from mumu_jax.system.seals import seal, unseal
from mumu_jax.system.signals import Interrupted
from mumu_jax.system.terminal import progress_bar
from mumu_jax.training.checkpoint import Checkpoints
from mumu_jax.training.log import PhaseLog
from mumu_jax.training.loop import Run

GROWN = "boosting"  # the folder of the trees of single genres, until all are grown
SMOOTHING = 0.5  # items added to either side, so that a genre on no training item has finite odds


class Rows(NamedTuple):
    """The items of a split as trees see them."""

    x: Float32[np.ndarray, "items d"]
    labels: Shaped[np.ndarray, "items labels"]


class Grown(NamedTuple):
    """Trees of some outputs, of as many rounds as early stopping left, and how they came to be."""

    feature: Int32[np.ndarray, "rounds outputs splits"]
    threshold: Float32[np.ndarray, "rounds outputs splits"]
    value: Float32[np.ndarray, "rounds outputs leaves"]
    start: Float32[np.ndarray, " outputs"]
    train_loss: Float[np.ndarray, " tried"]  # after each round that was tried
    val_loss: Float[np.ndarray, " tried"]
    gain: Float[np.ndarray, " d"]  # the loss that each column's splits have saved


def fit_trees(network: Network, constants: Constants, inputs: Inputs, records: Mapping[str, Records], run: Run) -> Any:
    """Grow the trees, and keep them as `fit` keeps a network's best variables; return these.

    Raises UserError without XGBoost, and Interrupted after a signal.
    """
    model, level = network.model, inputs.level
    assert isinstance(model, Trees)
    checkpoints = Checkpoints(run.workdir / level)
    state = initial_state(network, run.config.optim, inputs.item, run)
    if checkpoints.last_step() is not None:
        variables = checkpoints.restore_best(state.variables)
        checkpoints.close()
        return variables
    splits = {split: _rows(network, constants, inputs, one, len(run.seen)) for split, one in records.items()}
    n_labels = len(run.seen)
    outputs = [slice(None)] if network.objective.single_label else [slice(i, i + 1) for i in range(n_labels)]
    grown = list(_grow_all(splits["train"], splits["val"], outputs, run))
    forest = _joined(grown, model)
    _log(grown, level, run)
    if processes.is_main():
        _write_importance(run.workdir, inputs, grown)
    state = replace(state, params={"output": identity_layer(model.n_outputs)}, batch_stats={"forest": forest._asdict()})
    keep(checkpoints, state, run)
    processes.main_first(lambda: shutil.rmtree(run.workdir / GROWN, ignore_errors=True), str(run.workdir))
    return state.variables


def _rows(network: Network, constants: Constants, inputs: Inputs, records: Records, n_labels: int) -> Rows:
    """Return a split's items as the network sees them, on the host."""
    (name,) = inputs.modalities
    array, labels = inputs.held(name, records, n_labels)
    return Rows(np.asarray(jax.jit(see, static_argnums=0)(network, {name: array}, constants)), labels)


def _joined(grown: list[Grown], model: Trees) -> Forest:
    """Return all outputs' trees as one forest of the model's rounds: those that nothing was grown in add nothing."""

    def fill(name: str) -> np.ndarray:
        parts = [getattr(one, name) for one in grown]
        parts = [np.pad(part, ((0, model.rounds - len(part)), (0, 0), (0, 0))) for part in parts]
        return np.concatenate(parts, axis=1)

    start = np.concatenate([one.start for one in grown])
    return Forest(feature=fill("feature"), threshold=fill("threshold"), value=fill("value"), start=start)


def _log(grown: list[Grown], level: str, run: Run) -> None:
    """Log the losses after each round, the means over the outputs; those whose trees end earlier stay as they are."""
    run.log.go_on_from(0)
    log, n_rounds = PhaseLog(run.log, level, 1), max(len(one.value) for one in grown)

    def mean(name: str) -> Float[np.ndarray, " rounds"]:
        losses = [getattr(one, name)[: len(one.value)] for one in grown]
        return np.mean([np.pad(loss, (0, n_rounds - len(loss)), mode="edge") for loss in losses], axis=0)

    for i, (train, val) in enumerate(zip(mean("train_loss"), mean("val_loss"), strict=True)):
        log.metrics(i + 1, {"train/loss": float(train), "val/loss": float(val)})
    run.log.sync()


def _write_importance(workdir: Path, inputs: Inputs, grown: list[Grown]) -> None:
    """Write each column's share of the loss that the splits have saved, the largest first."""
    (name, modality), *_ = inputs.modalities.items()
    gain = np.sum([one.gain for one in grown], axis=0)
    columns = modality.columns(inputs.config, inputs.fitted[name])
    shares = dict(zip(columns, (gain / max(gain.sum(), np.finfo(float).tiny)).tolist(), strict=True))
    unseal(workdir, IMPORTANCE)
    write_json(workdir / IMPORTANCE, dict(sorted(shares.items(), key=lambda item: -item[1])))
    seal(workdir, IMPORTANCE)


# --- growing ------------------------------------------------------------------------------------------------


def _grow_all(train: Rows, val: Rows, outputs: list[slice], run: Run) -> Iterator[Grown]:
    """Yield the trees of each of the outputs, which process 0 grows, or has grown before.

    Raises Interrupted after a signal.
    """
    rounds = run.config.model.rounds
    with progress_bar(len(outputs) * rounds, "boosting", shown=processes.is_main()) as bar:
        for i, output in enumerate(outputs):
            path = run.workdir / GROWN / f"{i:05}.npz"

            def grow(path: Path = path, output: slice = output) -> None:
                if not path.exists():
                    of_train, of_val = (Rows(one.x, one.labels[:, output]) for one in (train, val))
                    trees = _grow(of_train, of_val, run.config, lambda: bool(run.stop))
                    if not run.stop:
                        _write(path, trees)

            processes.main_first(grow, str(path))
            if processes.any_of_all(bool(run.stop))[0]:
                raise Interrupted(f"{run.stop}: the trees of {i} of {len(outputs)} genres are saved")
            trees = Grown(**read_npz(path, "remove it: it is grown again", *Grown._fields))
            bar.advance(rounds, f"{len(trees.value)} rounds, val loss {trees.val_loss.min():.4f}")
            yield trees
        bar.finish()


def _write(path: Path, grown: Grown) -> None:
    path.parent.mkdir(exist_ok=True)
    write_npz(path, **grown._asdict())


def _grow(train: Rows, val: Rows, config: Config, stop: Callable[[], bool]) -> Grown:
    """Grow the trees of one genre, or of all genres of items that have one each, with early stopping on `val`."""
    xgboost, n_outputs, optim = _xgboost(), train.labels.shape[1], config.optim
    start = _log_odds(train.labels)
    kind = "binary:logistic" if n_outputs == 1 else "multi:softprob"
    targets = [rows.labels[:, 0] if n_outputs == 1 else rows.labels.argmax(axis=1) for rows in (train, val)]
    sets = [
        xgboost.DMatrix(rows.x, label=target, base_margin=np.tile(start, (len(rows.x), 1)))
        for rows, target in zip((train, val), targets, strict=True)
    ]
    settings = {
        "objective": kind,
        "eval_metric": "logloss" if n_outputs == 1 else "mlogloss",
        "eta": optim.learning_rate,
        "max_depth": config.model.tree_depth,
        "subsample": config.model.subsample,
        "seed": config.seed,
        "tree_method": "hist",
        "device": "cuda" if jax.default_backend() == "gpu" else "cpu",
        "verbosity": 0,
        **({} if n_outputs == 1 else {"num_class": n_outputs}),
    }

    class Stop(xgboost.callback.TrainingCallback):
        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            return stop()

    losses: dict[str, Any] = {}
    early = xgboost.callback.EarlyStopping(rounds=optim.patience, data_name="val", save_best=True)
    booster = xgboost.train(
        settings,
        sets[0],
        config.model.rounds,
        evals=[(sets[0], "train"), (sets[1], "val")],
        evals_result=losses,
        callbacks=[early, Stop()],
        verbose_eval=False,
    )
    train_loss, val_loss = (np.array(losses[name][settings["eval_metric"]]) for name in ("train", "val"))
    feature, threshold, value = _trees(booster, n_outputs, config.model.tree_depth)
    threshold = between_values(feature, threshold, train.x)
    return Grown(feature, threshold, value, start, train_loss, val_loss, _gain(booster, train.x))


def _log_odds(labels: Shaped[np.ndarray, "items labels"]) -> Float32[np.ndarray, " labels"]:
    """Return the log-odds of each label, from which boosting starts."""
    shares = (labels.sum(axis=0) + SMOOTHING) / (len(labels) + 2 * SMOOTHING)
    return logit(shares).astype(np.float32)


def _xgboost() -> Any:
    try:
        import xgboost
    except ImportError as error:
        raise UserError(
            "boosting needs the package xgboost; install the extra: pip install -e '.[boost]' (700 MB, most of it "
            "for GPUs; pip install xgboost-cpu is 6 MB)"
        ) from error
    return xgboost


def _gain(booster: Any, x: np.ndarray) -> Float[np.ndarray, " d"]:
    """Return the loss that the splits by each column have saved."""
    gains = booster.get_score(importance_type="total_gain")
    return np.array([gains.get(f"f{i}", 0.0) for i in range(x.shape[1])])


def _trees(booster: Any, n_outputs: int, depth: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the features, thresholds and values of a booster's trees, by round and output."""
    model = json.loads(booster.save_raw("json"))["learner"]["gradient_booster"]["model"]
    parts = [
        complete(
            left=np.array(tree["left_children"], np.int32),
            right=np.array(tree["right_children"], np.int32),
            feature=np.array(tree["split_indices"], np.int32),
            condition=np.array(tree["split_conditions"], np.float32),
            depth=depth,
        )
        for tree in model["trees"]
    ]
    feature, threshold, value = (np.stack(arrays) for arrays in zip(*parts, strict=True))
    by_round = (-1, n_outputs)
    return (
        feature.reshape(*by_round, feature.shape[1]),
        threshold.reshape(*by_round, feature.shape[1]),
        value.reshape(*by_round, value.shape[1]),
    )


def between_values(
    feature: Int32[np.ndarray, "*trees splits"],
    threshold: Float32[np.ndarray, "*trees splits"],
    x: Float32[np.ndarray, "items d"],
) -> Float32[np.ndarray, "*trees splits"]:
    """Return thresholds halfway to the next smaller value in training, so that rounding changes no item's side.

    XGBoost's are values themselves, and an item's may differ in the last digit where another program standardises it.
    """
    moved = threshold.copy()
    for column in np.unique(feature):
        values, chosen = np.unique(x[:, column]), feature == column
        place = np.searchsorted(values, threshold[chosen])  # the number of smaller values
        below = values[np.maximum(place - 1, 0)]
        halfway = below + (threshold[chosen] - below) / 2
        is_between = (place > 0) & (place < len(values)) & (halfway > below)
        moved[chosen] = np.where(is_between, halfway, threshold[chosen])
    return moved


def complete(
    left: Int32[np.ndarray, " nodes"],
    right: Int32[np.ndarray, " nodes"],
    feature: Int32[np.ndarray, " nodes"],
    condition: Float32[np.ndarray, " nodes"],
    depth: int,
) -> tuple[Int32[np.ndarray, " splits"], Float32[np.ndarray, " splits"], Float32[np.ndarray, " leaves"]]:
    """Return the features, thresholds and leaves' values of a tree of XGBoost's, made complete to `depth`.

    `condition` is a split's threshold or a leaf's value; a leaf has no children (-1).  Where a branch ends early, its
    value is behind every split that is missing.
    """
    nodes, features, thresholds = np.zeros(1, np.int32), [], []
    for _ in range(depth):
        is_leaf = left[nodes] < 0
        features.append(np.where(is_leaf, 0, feature[nodes]))
        thresholds.append(np.where(is_leaf, np.finfo(np.float32).max, condition[nodes]))
        nodes = np.stack([np.where(is_leaf, nodes, side[nodes]) for side in (left, right)], axis=1).ravel()
    return np.concatenate(features), np.concatenate(thresholds), condition[nodes]
