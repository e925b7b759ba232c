"""The evaluation of a trained run on a split: metrics by album, and by track if it has tracks, and their files."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped
from PIL import Image

from mumu_jax.compute.predict import SplitPredictions
from mumu_jax.data.store.records import Dataset, Records
from mumu_jax.errors import UserError
from mumu_jax.objectives import Objective, decisions, metrics
from mumu_jax.objectives.metrics import or_none
from mumu_jax.runs.baseline import logits, read_baseline, summarize_albums
from mumu_jax.runs.calibration import Calibrator, read_calibrator
from mumu_jax.runs.constants import Seen
from mumu_jax.runs.folder import TrainedRun
from mumu_jax.runs.levels import score_levels
from mumu_jax.runs.prediction import Watch
from mumu_jax.runs.retrieval import score_retrieval
from mumu_jax.system import processes
from mumu_jax.system.files import write_json, write_npz
from mumu_jax.system.seals import seal, unseal

MAX_COVERS = 500
SIDE_PX = 64  # of a cover's thumbnail
MOST_PATCH_SCORES = 10**8  # metrics sort them, and take the memory of several copies
# The parts of an evaluation that have the metrics of `metrics.summarize`, with their names in a table.
LEVELS = {
    "patch": "patches",
    "track_votes": "tracks by vote",
    "track_shares": "tracks by share",
    "track": "tracks",
    "album": "albums",
    "baseline": "albums, linear",
    "chance": "by chance",
}
LARGEST = float(np.finfo(np.float16).max)


def is_single_label(run: TrainedRun) -> bool:
    """Return True if each album of the run's data has exactly one label."""
    return run.album.network.objective.single_label


def evaluate(
    run: TrainedRun,
    dataset: Dataset,
    split: str,
    workdir: Path,
    watch: Watch = iter,
    about: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """Score a split with all networks; write eval_<split>.json and predictions_<split>.npz, and return the former.

    With one label an album, also write the albums' confusion_<split>.csv and .png; of covers, for figure 2, some of
    them with their feature vectors: covers_<split>.npz.

    Track scores are of each track's fixed patch; album scores of the mean penultimate vector of an album's tracks
    (Oramas et al. 2017, section 5.1), or of the album's own item.  If albums may have several labels and the run has
    thresholds, `decisions` are of the labels that they give the albums; `retrieval` is recall@1 between the inputs of a
    network with a contrastive loss.  `about` are further facts for the file.  Raises UserError if the split is empty.
    """
    records = records_of(dataset, split)
    levels, label_names = score_levels(run, records, watch), [label.name for label in run.labels]
    albums, tracks = levels["album"].predictions, levels["track"].predictions if "track" in levels else None
    result = {
        "split": split,
        "data": {"dir": str(dataset.folder), "checksum": dataset.checksum},
        **_of_patches(run.first.network.objective, run.seen, tracks),
        **{name: _summarize(run, level.predictions.scores, level.predictions.labels) for name, level in levels.items()},
        **_of_baseline(run, records, workdir),
        "chance": metrics.by_chance(len(run.labels), len(albums.scores), is_single_label(run)),
        **_of_decisions(run, albums, workdir),
        **about,
    }
    if found := score_retrieval(run, records, watch):
        result["retrieval"] = found
    if is_single_label(run):
        result["accuracy_by_genre"] = accuracy_by_genre(albums.scores, albums.labels, label_names)
    if processes.is_main():
        arrays = {
            f"{name}_{field}": array
            for name, (ids, predictions) in levels.items()
            for field, array in (("ids", ids), ("scores", predictions.scores), ("labels", predictions.labels))
        }
        covers = choose_thumbnails(records, albums) if "image" in run.config.inputs else None
        write_evaluation(workdir, result, label_names, arrays, covers)
    return result


def records_of(dataset: Dataset, split: str) -> Records:
    """Return a split's records; raises UserError if there are none."""
    records = dataset.split(split)
    if not len(records):
        raise UserError(f"split {split!r} of {dataset.folder} has no {dataset.item}; choose another --split")
    return records


def accuracy_by_genre(
    scores: Float[np.ndarray, "albums labels"], labels: Shaped[np.ndarray, "albums labels"], names: Sequence[str]
) -> dict[str, float | int | None]:
    """Return by genre the share of its albums, which have one genre each, for which it has the highest score."""
    shares = metrics.accuracy_by_label(np.asarray(metrics.confusion_matrix(scores, labels)))
    return finite(dict(zip(names, shares.tolist(), strict=True)))


def write_evaluation(
    workdir: Path,
    result: dict[str, Any],
    label_names: Sequence[str],
    arrays: Mapping[str, Any],
    covers: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Write the files of an evaluation, `arrays` as the predictions, and record their checksums."""
    split = result["split"]
    names = (f"predictions_{split}.npz", *files_of(result, covers is not None))
    unseal(workdir, *names)
    write_npz(workdir / f"predictions_{split}.npz", compressed=True, label_names=label_names, **arrays)
    if "accuracy_by_genre" in result:
        from mumu_jax.runs import confusion  # Matplotlib takes a second to import

        matrix = np.asarray(metrics.confusion_matrix(arrays["album_scores"], arrays["album_labels"]))
        confusion.write_table(workdir / f"confusion_{split}.csv", matrix, label_names)
        confusion.write_picture(workdir / f"confusion_{split}.png", matrix, label_names)
    if covers is not None:
        write_npz(workdir / f"covers_{split}.npz", compressed=True, **covers)
    write_json(workdir / f"eval_{split}.json", result)
    seal(workdir, *names)


def files_of(result: Mapping[str, Any], covers: bool) -> Iterator[str]:
    """Yield the names of the files of an evaluation for people to look at."""
    split = result["split"]
    yield f"eval_{split}.json"
    if "accuracy_by_genre" in result:
        yield from (f"confusion_{split}.csv", f"confusion_{split}.png")
    if covers:
        yield f"covers_{split}.npz"


def _of_patches(objective: Objective, seen: Seen, tracks: SplitPredictions | None) -> dict[str, Any]:
    """Score patches by themselves, and tracks by their votes and by the mean of their shares, beside their mean score.

    A patch's share of a label is its score over the sum of its scores, of probabilities alone; it votes for its best
    label, and the mean of what it gives decides between labels of as many votes.
    """
    if tracks is None or tracks.patches is None or tracks.patches.shape[1] < 2:
        return {}
    n, n_labels = tracks.patches.shape[1:]
    if tracks.patches.size > MOST_PATCH_SCORES:
        return {}
    of_patches = np.asarray(objective.readable(tracks.patches.reshape(-1, n_labels)))
    levels, scores = {"patch": (of_patches, tracks.labels.repeat(n, axis=0))}, of_patches.reshape(-1, n, n_labels)
    votes, given = np.eye(n_labels, dtype=np.float32)[scores.argmax(axis=2)].sum(axis=1), scores
    if not objective.unit_output:
        given = scores / np.maximum(scores.sum(axis=2, keepdims=True), np.finfo(np.float32).tiny)
        levels["track_shares"] = (given.mean(axis=1), tracks.labels)
    levels["track_votes"] = (votes + given.mean(axis=1) / 2, tracks.labels)  # less than a vote
    return {
        name: finite(metrics.summarize(*level, seen, single_label=objective.single_label))
        for name, level in levels.items()
    }


def _of_baseline(run: TrainedRun, records: Records, workdir: Path) -> dict[str, Any]:
    """Score the albums with the linear baseline, if the run has one."""
    linear = read_baseline(workdir, run.config.inputs)
    albums = linear and summarize_albums(run.inputs, records, len(run.labels))
    if not linear or not albums:
        return {}
    return {"baseline": _summarize(run, np.asarray(logits(linear, albums.inputs)), albums.labels)}


def _of_decisions(run: TrainedRun, albums: SplitPredictions, workdir: Path) -> dict[str, Any]:
    """Score the genres that the run's thresholds give the albums; nothing in runs of earlier versions."""
    calibrator = None if is_single_label(run) else read_calibrator(workdir, len(run.labels))
    if calibrator is None:
        return {}
    scores = np.asarray(run.album.network.objective.readable(albums.scores))
    return {"decisions": score_decisions(calibrator, scores, albums.labels, run.seen)}


def score_decisions(
    calibrator: Calibrator, scores: np.ndarray, labels: np.ndarray, seen: Seen
) -> dict[str, dict[str, float | int | None]]:
    """Return the metrics of the genres that readable scores give, for each way to decide."""
    given = calibrator.decisions(scores)
    return {way: finite(decisions.summarize(one, labels, seen)) for way, one in given.items()}


def _summarize(run: TrainedRun, scores: np.ndarray, labels: np.ndarray) -> dict[str, float | int | None]:
    return finite(metrics.summarize(scores, labels, run.seen, single_label=is_single_label(run)))


def finite(values: Mapping[str, float]) -> dict[str, float | int | None]:
    """Return metrics for JSON, which has no NaN."""
    return {name: or_none(value) for name, value in values.items()}


def choose_thumbnails(records: Records, predictions: SplitPredictions) -> dict[str, np.ndarray]:
    """Choose at most MAX_COVERS covers of a split at random, in random order, always the same ones, for figure 2.

    Returns their album_ids, vectors [albums, d] in float16, covers [albums, side, side, 3] and multi-hot labels.
    """
    rows = np.random.default_rng(0).permutation(len(records))[:MAX_COVERS]
    covers = (Image.fromarray(record["image"]) for record in records.read(rows))
    return {
        "album_ids": np.array(records.album_ids)[rows],
        "vectors": np.clip(predictions.embedding[rows], -LARGEST, LARGEST).astype(np.float16),
        "covers": np.stack([np.asarray(one.resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)) for one in covers]),
        "labels": predictions.labels[rows],
    }
