"""A run's folder, finished or not, as a report needs it: no network is built."""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped

from mumu_jax.config import Config
from mumu_jax.data.manifest import read_labels
from mumu_jax.errors import UserError
from mumu_jax.runs.folder import FINAL_SPLITS, read_about, read_constants
from mumu_jax.runs.fusion import FUSION, Source, read_kept
from mumu_jax.training.log import METRICS, PERF, read_lines


@dataclass(frozen=True)
class Predictions:
    """The scores of a split's albums, and their labels."""

    scores: Float[np.ndarray, "items labels"]
    labels: Shaped[np.ndarray, "items labels"]


@dataclass(frozen=True)
class Run:
    """What there is so far: a run that was not scored has no `result`."""

    folder: Path
    config: Config
    about: dict[str, Any]  # config.json
    sources: dict[str, Source]  # the runs that a fusion joins, by modality
    label_names: list[str]
    seen: Bool[np.ndarray, " labels"]  # labels with a positive in training
    metrics: list[dict[str, Any]]  # lines of metrics.jsonl
    perf: list[dict[str, Any]]
    split: str
    result: dict[str, Any] | None  # eval_<split>.json
    predictions: Predictions | None


def read_run(folder: Path, split: str | None) -> Run:
    """The run, with what was found on `split`; None: the first of `FINAL_SPLITS` that was scored.

    Raises UserError if `folder` is no run, if a file of it is damaged, or if it was not scored on the split asked for.
    """
    if not (folder / "config.json").exists():
        raise UserError(
            f"{folder} is neither a run nor a folder of runs: it has no config.json and no table2.csv; give the "
            "--workdir of mumu_jax.train or of mumu_jax.reproduce"
        )
    about, config = read_about(folder / "config.json")
    scored = [name for name in FINAL_SPLITS if (folder / f"eval_{name}.json").exists()]
    if split and not (folder / f"eval_{split}.json").exists():
        raise UserError(
            f"{folder} has no eval_{split}.json; score it: python -m mumu_jax.evaluate --workdir={folder} "
            f"--split={split}"
        )
    split = split or (scored or FINAL_SPLITS)[0]
    labels = read_labels(folder / "labels.json")
    result, predictions = folder / f"eval_{split}.json", folder / f"predictions_{split}.npz"
    return Run(
        folder=folder,
        config=config,
        about=about,
        sources=read_kept(folder).sources if (folder / FUSION).exists() else {},
        label_names=[label.name for label in labels],
        seen=read_constants(folder)[1],
        metrics=read_lines(folder / METRICS),
        perf=read_lines(folder / PERF),
        split=split,
        result=_read_json(result) if result.exists() else None,
        predictions=_read_predictions(predictions, len(labels)) if predictions.exists() else None,
    )


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); restore it") from error


def _read_predictions(path: Path, n_labels: int) -> Predictions:
    try:
        with np.load(path) as arrays:
            found = Predictions(arrays["album_scores"], arrays["album_labels"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is damaged ({error!r}); score the run anew with mumu_jax.evaluate") from error
    if found.scores.shape != found.labels.shape or found.scores.shape[1:] != (n_labels,):
        raise UserError(
            f"{path} holds scores {found.scores.shape} and labels {found.labels.shape}, and the run has {n_labels} "
            "labels; score the run anew with mumu_jax.evaluate"
        )
    return found
