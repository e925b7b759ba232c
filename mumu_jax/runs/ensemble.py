"""Ensembles: the mean of what several runs say of the same albums, weighted or not.

ensemble.json         the runs, each with its path, fingerprint and weight
labels.json           label names and parents, in column order
calibration.npz       thresholds and calibrated probabilities of the mean, fitted on validation
members/              of runs with different kinds of scores: the calibration of each, by its place in ensemble.json
predictions_*.npz, eval_*.json   as in a run's folder; album_scores are the mean
"""

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from jaxtyping import Float, Shaped
from scipy.optimize import nnls

from mumu_jax.data.manifest import Label, read_labels, write_labels
from mumu_jax.data.modalities.base import Read, Reader
from mumu_jax.data.store.records import Dataset
from mumu_jax.errors import UserError
from mumu_jax.objectives import metrics
from mumu_jax.runs.calibration import Calibrator, calibrate, fit_calibrator, read_calibrator, write_calibrator
from mumu_jax.runs.evaluation import finite, score_decisions
from mumu_jax.runs.folder import CALIBRATION, FINAL_SPLITS, TrainedRun
from mumu_jax.runs.fusion import check_same_data, open_source
from mumu_jax.runs.levels import score_levels
from mumu_jax.runs.prediction import Watch
from mumu_jax.runs.scorer import Scorer, Seen, best_scores, open_run
from mumu_jax.runs.several import read_each, view_of
from mumu_jax.runs.stems import Together
from mumu_jax.system.files import LOCK, read_checked_json, sha256_of, write_checked_json, write_json, write_npz
from mumu_jax.system.lines import print_remark
from mumu_jax.system.seals import SEAL, check_seal, seal, unseal

ABOUT, MEMBERS = "ensemble.json", "members"
OWN = (ABOUT, MEMBERS, "labels.json", CALIBRATION, SEAL, LOCK)  # and eval_*.json, predictions_*.npz
LEAST_SUM = 1e-9  # of weights; less is rounding


class Member(msgspec.Struct, frozen=True):
    """A run of an ensemble; `relative` is its path as seen from the ensemble's folder, if both were moved together."""

    path: str
    relative: str
    fingerprint: str
    weight: float


class About(msgspec.Struct, frozen=True):
    """The content of ensemble.json; if `calibrated`, the mean is of calibrated probabilities, else of scores."""

    members: list[Member]
    calibrated: bool


@dataclass(frozen=True)
class Opened:
    """A run that is to be a member, with its data and its calibration."""

    path: Path
    run: TrainedRun
    dataset: Dataset
    calibrator: Calibrator

    @property
    def is_cosine(self) -> bool:
        return self.run.album.network.objective.unit_output

    @property
    def is_single_label(self) -> bool:
        return self.run.album.network.objective.single_label


@dataclass(frozen=True)
class Scored:
    """The albums of a split that all members have, with the scores of each member."""

    album_ids: list[str]
    labels: Shaped[np.ndarray, "albums labels"]
    scores: Float[np.ndarray, "members albums labels"]


# --- making one ---------------------------------------------------------------------------------------------


def make_ensemble(
    paths: Sequence[Path], workdir: Path, weighted: bool, data_dir: Path | None = None, watch: Watch = iter
) -> dict[str, Any]:
    """Score the runs, join them and write the folder; return the evaluation.

    With `weighted`, the weights are those of least squares on validation, none negative (as in Breiman, Stacked
    regressions, 1996), divided by their sum; else all are alike.  `data_dir` is where the runs' data is now.  Raises
    UserError if the runs are not of the same data.
    """
    opened = [_open(path, data_dir) for path in paths]
    first = opened[0]
    for other in opened[1:]:
        check_same_data(other.dataset, other.path, first.dataset, first.path)
    calibrated = len({one.is_cosine for one in opened}) > 1
    if calibrated:
        print_remark("some runs give cosines and some probabilities: the mean is of all runs' calibrated probabilities")
    final = next(split for split in FINAL_SPLITS if len(first.dataset.split(split)))
    scored = {split: _score(opened, split, calibrated, watch) for split in dict.fromkeys(("val", final))}
    weights = _fitted_weights(scored["val"]) if weighted else np.full(len(opened), 1 / len(opened))
    means = {split: np.tensordot(weights, one.scores, axes=1).astype(np.float32) for split, one in scored.items()}
    of_mean = next((one for one in opened if not one.is_cosine), first)  # what the mean is: probabilities, if any is
    calibrator = fit_calibrator(means["val"], scored["val"].labels, of_mean.run.album.network.objective)
    result = _evaluation(opened, scored[final], means[final], final, calibrator)
    result["weights"] = {str(one.path): float(weight) for one, weight in zip(opened, weights, strict=True)}
    members = [
        Member(str(one.path.absolute()), os.path.relpath(one.path, workdir), one.run.fingerprint, float(weight))
        for one, weight in zip(opened, weights, strict=True)
    ]
    calibrators = [one.calibrator for one in opened] if calibrated else []
    _write(workdir, About(members, calibrated), first.run.labels, [calibrator, *calibrators], scored, means, result)
    return result


def foreign_files(folder: Path) -> list[str]:
    """Return the names in a folder that `make_ensemble` does not write."""
    patterns = (*OWN, "eval_*.json", "predictions_*.npz")
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    return [name for name in names if not any(fnmatch(name, pattern) for pattern in patterns)]


def _open(path: Path, data_dir: Path | None) -> Opened:
    """Open a run, the data that it was trained on, and its calibration, which is fitted if it has none."""
    run, dataset = open_source(path, data_dir)
    return Opened(path, run, dataset, read_calibrator(path, len(run.labels)) or calibrate(run, dataset))


def _score(opened: Sequence[Opened], split: str, calibrated: bool, watch: Watch) -> Scored:
    """Score a split with each run; says how many albums not all of them have."""
    levels = [score_levels(one.run, one.dataset.split(split), watch)["album"] for one in opened]
    rows = [{album_id: row for row, album_id in enumerate(level.ids)} for level in levels]
    shared = [album_id for album_id in levels[0].ids if all(album_id in of_run for of_run in rows)]
    if n_left_out := len({album_id for level in levels for album_id in level.ids}) - len(shared):
        print_remark(f"{split}: {n_left_out} albums that not all runs have are left out")
    if not shared:
        raise UserError(f"no album of the {split} split is in all runs; join runs that see the same albums")
    scores = []
    for one, level, of_run in zip(opened, levels, rows, strict=True):
        readable = np.asarray(one.run.album.network.objective.readable(level.predictions.scores))
        chosen = readable[[of_run[album_id] for album_id in shared]]
        scores.append(one.calibrator.probability(chosen) if calibrated else chosen)
    labels = levels[0].predictions.labels[[rows[0][album_id] for album_id in shared]]
    return Scored(shared, labels, np.stack(scores).astype(np.float32))


def _fitted_weights(val: Scored) -> Float[np.ndarray, " members"]:
    """Return the weights of least squares, none negative, divided by their sum; all alike if they are all zero."""
    columns = val.scores.reshape(len(val.scores), -1).T.astype(np.float64)
    weights, _ = nnls(columns, val.labels.ravel().astype(np.float64))
    if weights.sum() < LEAST_SUM:
        return np.full(len(weights), 1 / len(weights))
    return weights / weights.sum()


def _evaluation(
    opened: Sequence[Opened],
    scored: Scored,
    mean: Float[np.ndarray, "albums labels"],
    split: str,
    calibrator: Calibrator,
) -> dict[str, Any]:
    """Return the metrics of the mean and of each run on the same albums."""
    seen = np.all([one.run.seen for one in opened], axis=0)
    single_label = all(one.is_single_label for one in opened)

    def summarize(scores: np.ndarray) -> dict[str, float | int | None]:
        return finite(metrics.summarize(scores, scored.labels, seen, single_label=single_label))

    result = {
        "split": split,
        "data": {"dir": str(opened[0].dataset.folder), "checksum": opened[0].dataset.checksum},
        "album": summarize(mean),
        "runs": {str(one.path): summarize(scores) for one, scores in zip(opened, scored.scores, strict=True)},
        "chance": metrics.by_chance(len(seen), len(mean), single_label),
    }
    if not single_label:
        result["decisions"] = score_decisions(calibrator, mean, scored.labels, seen)
    return result


def _write(
    workdir: Path,
    about: About,
    labels: list[Label],
    calibrators: Sequence[Calibrator],
    scored: Mapping[str, Scored],
    means: Mapping[str, np.ndarray],
    result: dict[str, Any],
) -> None:
    """Write everything, ensemble.json last: it makes the folder an ensemble.

    `calibrators` are the mean's, and those of the members if the mean is of their calibrated probabilities.
    """
    evaluation = f"eval_{result['split']}.json"
    names = ["labels.json", MEMBERS, evaluation, *(f"predictions_{split}.npz" for split in scored)]
    workdir.mkdir(parents=True, exist_ok=True)
    (workdir / ABOUT).unlink(missing_ok=True)
    unseal(workdir, *names)
    shutil.rmtree(workdir / MEMBERS, ignore_errors=True)
    write_labels(workdir / "labels.json", labels)
    write_calibrator(workdir, calibrators[0])
    for i, one in enumerate(calibrators[1:]):
        (workdir / MEMBERS / str(i)).mkdir(parents=True)
        write_calibrator(workdir / MEMBERS / str(i), one)
    for split, one in scored.items():
        write_npz(
            workdir / f"predictions_{split}.npz",
            compressed=True,
            label_names=[label.name for label in labels],
            album_ids=one.album_ids,
            album_scores=means[split],
            album_labels=one.labels,
        )
    write_json(workdir / evaluation, result)
    seal(workdir, *names)
    write_checked_json(workdir / ABOUT, msgspec.to_builtins(about))


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


def is_ensemble(folder: Path) -> bool:
    """Return True if the folder is an ensemble's."""
    return (folder / ABOUT).exists()


def open_ensemble(folder: Path) -> Ensemble:
    """Open what `make_ensemble` wrote.  Raises UserError if a run is missing or has changed, or a file has."""
    check_seal(folder, "restore it, or make the ensemble again", "labels.json", CALIBRATION, MEMBERS)
    path = folder / ABOUT
    try:
        about = msgspec.convert(read_checked_json(path), About)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path} is damaged ({error}); restore it, or make the ensemble again") from error
    places = [_place(folder, member) for member in about.members]
    scorers = [open_run(place) for place in places]
    for member, place, scorer in zip(about.members, places, scorers, strict=True):
        if member.fingerprint not in scorer.names:
            raise UserError(
                f"{folder} has the run {member.fingerprint}: expected it in {place}, found {scorer.names[0]}; move "
                "that run back, or make the ensemble again"
            )
    labels, indices = read_labels(folder / "labels.json"), range(len(scorers))
    folders = [folder / MEMBERS / str(i) for i in indices] if about.calibrated else []
    digests = [sha256_of(one / CALIBRATION) for one in folders]
    content = repr([*((member.fingerprint, member.weight) for member in about.members), *digests])
    return Ensemble(
        names=(f"ensemble-{hashlib.sha256(content.encode()).hexdigest()[:12]}",),
        labels=labels,
        scorers=scorers,
        weights=[member.weight for member in about.members],
        calibrators=[read_calibrator(one, len(labels)) for one in folders] or [None for _ in indices],
    )


def _place(folder: Path, member: Member) -> Path:
    """Return a run's current folder: its recorded path, or the same path relative to the ensemble."""
    places = (Path(member.path), folder / member.relative)
    return next((place for place in places if (place / "config.json").exists()), places[0])


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
