"""Ensembles: the mean of what several runs say of the same albums, weighted or not.

ensemble.json         the runs, each with its path, fingerprint and weight
labels.json           label names and parents, in column order
calibration.npz       thresholds and calibrated probabilities of the mean, fitted on validation
members/              of runs with different kinds of scores: the calibration of each, by its place in ensemble.json
predictions_*.npz, eval_*.json, confusion_*   as in a run's folder; album_scores are the mean
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
from jaxtyping import Float, Shaped
from scipy.optimize import nnls

from mumu_jax.data.manifest import Label, read_labels, write_labels
from mumu_jax.data.modalities.base import Read, Reader
from mumu_jax.data.modalities.vectors import folder_of
from mumu_jax.data.store.records import Dataset
from mumu_jax.errors import UserError
from mumu_jax.objectives import Objective, metrics
from mumu_jax.runs.calibration import Calibrator, calibrate, fit_calibrator, read_calibrator, write_calibrator
from mumu_jax.runs.constants import Seen as SeenLabels
from mumu_jax.runs.evaluation import accuracy_by_genre, finite, records_of, score_decisions, write_evaluation
from mumu_jax.runs.folder import CALIBRATION, FINAL_SPLITS, TrainedRun, load_run
from mumu_jax.runs.fusion import check_same_data, open_source
from mumu_jax.runs.levels import score_levels
from mumu_jax.runs.prediction import Watch
from mumu_jax.runs.scorer import Scorer, Seen, best_scores, open_run
from mumu_jax.runs.several import read_each, view_of
from mumu_jax.runs.stems import Together
from mumu_jax.system.files import LOCK, read_checked_json, sha256_of, write_checked_json
from mumu_jax.system.lines import print_remark
from mumu_jax.system.seals import SEAL, check_seal, seal, unseal

ABOUT, MEMBERS = "ensemble.json", "members"
OWN = (ABOUT, MEMBERS, "labels.json", CALIBRATION, SEAL, LOCK, "report.html")
OF_SPLITS = ("eval_*.json", "predictions_*.npz", "confusion_*.csv", "confusion_*.png")
LEAST_SUM = 1e-9  # of weights; less is rounding
REMEDY = "restore it, or make the ensemble again"

Opening = TypeVar("Opening", Scorer, TrainedRun)


class Member(msgspec.Struct, frozen=True):
    """A run of an ensemble; `relative` is its path as seen from the ensemble's folder, if both were moved together."""

    path: str
    relative: str
    fingerprint: str
    weight: float


class About(msgspec.Struct, frozen=True):
    """The content of ensemble.json; if `calibrated`, the mean is of calibrated probabilities, else of scores.

    `unseen` are the labels that some run has not seen in training.
    """

    members: list[Member]
    calibrated: bool
    unseen: list[str] = []


@dataclass(frozen=True)
class Opened:
    """A run that is a member, with the data that it is scored on; `calibrator` if its scores are to be calibrated."""

    path: Path
    run: TrainedRun
    dataset: Dataset
    calibrator: Calibrator | None = None

    @property
    def objective(self) -> Objective:
        return self.run.album.network.objective


@dataclass(frozen=True)
class Scored:
    """The albums of a split that all members have, with the scores of each member."""

    album_ids: list[str]
    labels: Shaped[np.ndarray, "albums labels"]
    scores: Float[np.ndarray, "members albums labels"]

    def mean(self, weights: Sequence[float]) -> Float[np.ndarray, "albums labels"]:
        """Return the weighted mean of the members' scores."""
        return np.tensordot(np.array(weights), self.scores, axes=1).astype(np.float32)


# --- making one ---------------------------------------------------------------------------------------------


def make_ensemble(
    paths: Sequence[Path], workdir: Path, weighted: bool, data_dir: Path | None = None, watch: Watch = iter
) -> dict[str, Any]:
    """Score the runs, join them and write the folder; return the evaluation.

    With `weighted`, the weights are those of least squares on validation, none negative (as in Breiman, Stacked
    regressions, 1996), divided by their sum; else all are alike.  `data_dir` is where the runs' data is now.  Raises
    UserError if the runs are not of the same data.
    """
    opened = [Opened(path, *open_source(path, data_dir)) for path in paths]
    _check_same_data(opened)
    calibrated = len({one.objective.unit_output for one in opened}) > 1
    if calibrated:
        print_remark("some runs give cosines and some probabilities: the mean is of all runs' calibrated probabilities")
        opened = [replace(one, calibrator=_calibrator_of(one, watch)) for one in opened]
    dataset, labels = opened[0].dataset, opened[0].run.labels
    final = next(split for split in FINAL_SPLITS if len(dataset.split(split)))
    val = _score(opened, "val", watch)
    weights = _fitted_weights(val) if weighted else [1 / len(opened)] * len(opened)
    calibrator = fit_calibrator(val.mean(weights), val.labels, _objective_of_mean(opened))
    scored = val if final == "val" else _score(opened, final, watch)
    result = _evaluate(opened, weights, calibrator, final, scored)
    members = [
        Member(str(one.path.absolute()), os.path.relpath(one.path, workdir), one.run.fingerprint, weight)
        for one, weight in zip(opened, weights, strict=True)
    ]
    unseen = [label.name for label, seen in zip(labels, _seen(opened), strict=True) if not seen]
    _clear(workdir)
    write_labels(workdir / "labels.json", labels)
    write_calibrator(workdir, calibrator)
    for i, one in enumerate(opened):
        if one.calibrator:
            (workdir / MEMBERS / str(i)).mkdir(parents=True)
            write_calibrator(workdir / MEMBERS / str(i), one.calibrator)
    _write_evaluation(workdir, result, labels, scored, weights)
    seal(workdir, "labels.json", MEMBERS)
    write_checked_json(workdir / ABOUT, msgspec.to_builtins(About(members, calibrated, unseen)))  # makes it an ensemble
    return result


def foreign_files(folder: Path) -> list[str]:
    """Return the names in a folder that no command writes to an ensemble's."""
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    return [name for name in names if not any(fnmatch(name, pattern) for pattern in (*OWN, *OF_SPLITS))]


def _clear(workdir: Path) -> None:
    """Make the folder, and remove what an ensemble that was there before has left: evaluations of other weights."""
    workdir.mkdir(parents=True, exist_ok=True)
    (workdir / ABOUT).unlink(missing_ok=True)
    evaluations = [path for pattern in OF_SPLITS for path in workdir.glob(pattern)]
    unseal(workdir, "labels.json", MEMBERS, *(path.name for path in evaluations))
    shutil.rmtree(workdir / MEMBERS, ignore_errors=True)
    for path in evaluations:
        path.unlink()


def _check_same_data(opened: Sequence[Opened]) -> None:
    first, *others = opened
    for other in others:
        check_same_data(other.dataset, other.path, first.dataset, first.path)


def _calibrator_of(one: Opened, watch: Watch) -> Calibrator:
    """Return a run's calibration, fitted now if it has none."""
    return read_calibrator(one.path, len(one.run.labels)) or calibrate(one.run, one.dataset, watch)


def _fitted_weights(val: Scored) -> list[float]:
    """Return the weights of least squares, none negative, divided by their sum; all alike if they are all zero."""
    columns = val.scores.reshape(len(val.scores), -1).T.astype(np.float64)
    weights, _ = nnls(columns, val.labels.ravel().astype(np.float64))
    if weights.sum() < LEAST_SUM:
        return [1 / len(weights)] * len(weights)
    return (weights / weights.sum()).tolist()


# --- reading one --------------------------------------------------------------------------------------------


def is_ensemble(folder: Path) -> bool:
    """Return True if the folder is an ensemble's."""
    return (folder / ABOUT).exists()


def read_ensemble(folder: Path) -> About:
    """Read ensemble.json; raises UserError if it, or another file that the ensemble needs, is damaged."""
    check_seal(folder, REMEDY, "labels.json", CALIBRATION, MEMBERS)
    path = folder / ABOUT
    try:
        return msgspec.convert(read_checked_json(path), About)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path} is damaged ({error}); {REMEDY}") from error


def _open_members(folder: Path, about: About, open_one: Callable[[Path], Opening]) -> list[tuple[Path, Opening]]:
    """Open the runs, each with its current folder.  Raises UserError if one is missing or has changed."""
    places = [folder_of(member.path, member.relative, folder) for member in about.members]
    runs = [open_one(place) for place in places]
    for member, place, run in zip(about.members, places, runs, strict=True):
        if member.fingerprint not in run.names:
            raise UserError(
                f"{folder} has the run {member.fingerprint}: expected it in {place}, found {run.names[0]}; move "
                "that run back, or make the ensemble again"
            )
    return list(zip(places, runs, strict=True))


def _folders_of_calibrations(folder: Path, about: About) -> list[Path]:
    """Return where the runs' calibrations are, in their order; nowhere if the mean is of scores as they are."""
    return [folder / MEMBERS / str(i) for i in range(len(about.members))] if about.calibrated else []


def _calibrators(folder: Path, about: About, n_labels: int) -> list[Calibrator | None]:
    """Return the runs' calibrations, None for each run if the mean is of scores as they are."""
    folders = _folders_of_calibrations(folder, about)
    return [_calibrator(one, n_labels) for one in folders] or [None] * len(about.members)


def _calibrator(folder: Path, n_labels: int) -> Calibrator:
    calibrator = read_calibrator(folder, n_labels)
    if calibrator is None:
        raise UserError(f"{folder / CALIBRATION} is missing; {REMEDY}")
    return calibrator


# --- scoring with one ---------------------------------------------------------------------------------------


def evaluate_ensemble(
    folder: Path, split: str, data_of: Callable[[TrainedRun, Path], Dataset], watch: Watch = iter
) -> dict[str, Any]:
    """Score a split with all runs, write the files of the evaluation of their mean, and return it.

    `data_of` opens the data that a run is scored on.  Raises UserError if that of one is other data than another's,
    and as `open_ensemble`.
    """
    about = read_ensemble(folder)
    runs = _open_members(folder, about, load_run)
    labels, weights = read_labels(folder / "labels.json"), [member.weight for member in about.members]
    calibrators = _calibrators(folder, about, len(labels))
    opened = [Opened(path, run, data_of(run, path), one) for (path, run), one in zip(runs, calibrators, strict=True)]
    _check_same_data(opened)
    scored = _score(opened, split, watch)
    result = _evaluate(opened, weights, _calibrator(folder, len(labels)), split, scored)
    _write_evaluation(folder, result, labels, scored, weights)
    return result


def metrics_of_runs(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the runs' metrics in an evaluation by the runs' names and weights; a name that two have is the path."""
    names = {path: Path(path).name for path in result["runs"]}
    if len({*names.values()}) < len(names):
        names = {path: path for path in names}
    return {f"{names[path]} × {result['weights'][path]:.2f}": scores for path, scores in result["runs"].items()}


def _score(opened: Sequence[Opened], split: str, watch: Watch) -> Scored:
    """Score a split with each run; says how many albums not all of them have."""
    levels = [score_levels(one.run, records_of(one.dataset, split), watch)["album"] for one in opened]
    rows = [{album_id: row for row, album_id in enumerate(level.ids)} for level in levels]
    shared = [album_id for album_id in levels[0].ids if all(album_id in of_run for of_run in rows)]
    if n_left_out := len({album_id for level in levels for album_id in level.ids}) - len(shared):
        print_remark(f"{split}: {n_left_out} albums that not all runs have are left out")
    if not shared:
        raise UserError(f"no album of the {split} split is in all runs; join runs that see the same albums")
    scores = []
    for one, level, of_run in zip(opened, levels, rows, strict=True):
        readable = np.asarray(one.objective.readable(level.predictions.scores))
        chosen = readable[[of_run[album_id] for album_id in shared]]
        scores.append(one.calibrator.probability(chosen) if one.calibrator else chosen)
    labels = levels[0].predictions.labels[[rows[0][album_id] for album_id in shared]]
    return Scored(shared, labels, np.stack(scores).astype(np.float32))


def _objective_of_mean(opened: Sequence[Opened]) -> Objective:
    """Return an objective with scores of the mean's kind: probabilities, if any run has them."""
    return next((one.objective for one in opened if not one.objective.unit_output), opened[0].objective)


def _seen(opened: Sequence[Opened]) -> SeenLabels:
    """Return which labels all runs have seen in training."""
    return np.all([one.run.seen for one in opened], axis=0)


def _evaluate(
    opened: Sequence[Opened], weights: Sequence[float], calibrator: Calibrator, split: str, scored: Scored
) -> dict[str, Any]:
    """Return the metrics of the mean and of each run on the same albums."""
    seen, mean = _seen(opened), scored.mean(weights)
    single_label = all(one.objective.single_label for one in opened)

    def summarize(scores: np.ndarray) -> dict[str, float | int | None]:
        return finite(metrics.summarize(scores, scored.labels, seen, single_label=single_label))

    result = {
        "split": split,
        "data": {"dir": str(opened[0].dataset.folder), "checksum": opened[0].dataset.checksum},
        "album": summarize(mean),
        "runs": {str(one.path): summarize(scores) for one, scores in zip(opened, scored.scores, strict=True)},
        "weights": {str(one.path): weight for one, weight in zip(opened, weights, strict=True)},
        "chance": metrics.by_chance(len(seen), len(mean), single_label),
    }
    if single_label:
        names = [label.name for label in opened[0].run.labels]
        return {**result, "accuracy_by_genre": accuracy_by_genre(mean, scored.labels, names)}
    return {**result, "decisions": score_decisions(calibrator, mean, scored.labels, seen)}


def _write_evaluation(
    folder: Path, result: dict[str, Any], labels: Sequence[Label], scored: Scored, weights: Sequence[float]
) -> None:
    arrays = {"album_ids": scored.album_ids, "album_scores": scored.mean(weights), "album_labels": scored.labels}
    write_evaluation(folder, result, [label.name for label in labels], arrays)


# --- tagging with one ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ensemble:
    """The runs of an ensemble as one scorer; `calibrators` are theirs if the mean is of calibrated probabilities."""

    names: tuple[str, ...]
    labels: list[Label]
    scorers: Sequence[Scorer]
    weights: Sequence[float]
    calibrators: Sequence[Calibrator | None]
    ranking: None = None
    missing: str = "drop"

    @property
    def wants_gazetteer(self) -> bool:
        """True if a run has entities in texts to be linked, and nothing to link them."""
        return any(scorer.wants_gazetteer for scorer in self.scorers)

    @property
    def readers(self) -> dict[str, Reader]:
        """A reader for each kind of file, which reads one for all that the runs see of it."""
        kinds: dict[str, dict[str, Reader]] = {}
        for i, scorer in enumerate(self.scorers):
            for name, reader in scorer.readers.items():
                kinds.setdefault(reader.files, {})[_view(i, scorer, name)] = reader
        return {
            kind: replace(
                next(iter(views.values())), read=partial(read_each, {view: one.read for view, one in views.items()})
            )
            for kind, views in kinds.items()
        }

    def see(self, reads: Sequence[Any], batch_size: int) -> list[Seen]:
        """Return what is seen in files that could be read: the mean of the scores, and the vectors side by side."""
        of_each = [
            scorer.see([_part_of(i, scorer, read) for read in reads], batch_size)
            for i, scorer in enumerate(self.scorers)
        ]
        scores = np.zeros((len(reads), len(self.labels)), np.float32)
        for seen, weight, calibrator in zip(of_each, self.weights, self.calibrators, strict=True):
            of_run = np.stack([one.scores for one in seen])
            scores += np.float32(weight) * (of_run if calibrator is None else calibrator.probability(of_run))
        vectors = [np.concatenate([one.vector for one in of_file]) for of_file in zip(*of_each, strict=True)]
        return [Seen(of_file, vector, of_file[None]) for of_file, vector in zip(scores, vectors, strict=True)]

    def best(self, scores: Float[np.ndarray, " labels"], n: int, all_tags: bool) -> list[tuple[str, float]]:
        """Return the `n` best genres of an item with their scores, best first."""
        return best_scores(self.labels, scores, n)

    def with_gazetteer(self, path: Path) -> "Ensemble":
        """Return the ensemble with another gazetteer for texts."""
        return replace(self, scorers=[scorer.with_gazetteer(path) for scorer in self.scorers])


def open_ensemble(folder: Path) -> Ensemble:
    """Open what `make_ensemble` wrote.  Raises UserError if a run is missing or has changed, or a file has."""
    about = read_ensemble(folder)
    scorers = [scorer for _, scorer in _open_members(folder, about, open_run)]
    labels = read_labels(folder / "labels.json")
    digests = [sha256_of(one / CALIBRATION) for one in _folders_of_calibrations(folder, about)]
    content = repr([*((member.fingerprint, member.weight) for member in about.members), *digests])
    return Ensemble(
        names=(f"ensemble-{hashlib.sha256(content.encode()).hexdigest()[:12]}",),
        labels=labels,
        scorers=scorers,
        weights=[member.weight for member in about.members],
        calibrators=_calibrators(folder, about, len(labels)),
    )


def _view(i: int, scorer: Scorer, name: str) -> str:
    """Return what a run sees of a file, in words that are the same for runs that see the same of songs."""
    config = scorer.sources[name].inputs.config if name in scorer.sources else scorer.inputs.config
    return view_of(config) or f"{name} of run {i}"


def _part_of(i: int, scorer: Scorer, read: Together) -> Read:
    """Return what one of the runs has read of a file, or of files that are one album."""
    parts = dict(_parts_of(i, scorer, read))
    if len(parts) == 1:
        return next(iter(parts.values()))
    return Together(
        read.path, [record for part in parts.values() for record in part.records], read.seconds, parts=parts
    )


def _parts_of(i: int, scorer: Scorer, read: Together) -> Iterator[tuple[str, Read]]:
    for name, reader in scorer.readers.items():
        of_kind: Any = read.parts.get(reader.files, read)  # of files of one kind, there is nothing around it
        yield name, of_kind.parts[_view(i, scorer, name)]
