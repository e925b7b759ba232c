"""Run folders that were never trained: the files that a report reads, with any labels, in a moment."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mumu_jax.config import Config, TargetSettings
from mumu_jax.data.manifest import Label, write_labels

HOSTILE = [
    "<script>alert(1)</script>",
    '"quoted" & $x_{$ \\frac',
    "音楽 🎸",
    "fill: #000000;'",
    "{{ 7 * 7 }}",
    "</style><b>bold</b>",
    "_underscored <!-- -->",
    "javascript:alert(2)",
]


def make_predictions(n_items: int, n_labels: int, target: str = "logistic") -> tuple[np.ndarray, np.ndarray]:
    """Return scores like a network's, which tell a little of the labels, and these; the last label is on no item."""
    rng = np.random.default_rng(0)
    labels = (rng.random((n_items, n_labels)) < np.linspace(0.5, 0.1, n_labels)).astype(np.uint8)
    labels[:, -1] = 0
    if target == "softmax":
        labels = np.eye(n_labels, dtype=np.uint8)[np.append(np.arange(n_labels - 1), 0).repeat(n_items)[:n_items]]
    noise = rng.normal(size=labels.shape)
    scores = {
        "logistic": noise - 1 + 2.0 * labels,
        "cosine": np.tanh(noise / 3 + 0.5 * labels),
        "softmax": noise + labels,
    }[target]
    return scores.astype(np.float32), labels


def make_run(
    folder: Path, names: Sequence[str] = HOSTILE, target: str = "logistic", n_items: int = 60, scored: bool = True
) -> Path:
    """Make a run of `text_vsm` on these labels, finished (`scored`) or only just begun."""
    folder.mkdir(parents=True)
    config = Config(name="made_up", modality="text", target=TargetSettings(target))
    about = {
        "config": dataclasses.asdict(config),
        "data": {"dir": '/data/<i>"mine"', "checksum": "c0ffee"},
        "weights": None,
        "versions": {"python": "3.11", "device": "cpu", "computes_in": "float32", "commit": "abc1234+dirty"},
    }
    _write_json(folder / "config.json", about)
    write_labels(folder / "labels.json", [Label(name) for name in names])
    seen = np.arange(len(names)) != len(names) - 1
    one = np.ones(1, np.float32)
    np.savez(
        folder / "constants.npz", mean=one, std=one, label_factors=np.zeros((len(names), 0), np.float32), seen=seen
    )
    epochs = range(3 if scored else 0)
    metrics = [
        {"train/loss": 1 / (e + 1), "val/loss": 1.2 / (e + 1), "val/roc_auc_macro": 0.6 + e / 10} for e in epochs
    ]
    perf = [{"perf/examples_per_s": 100.0 + e, "perf/input_wait_fraction": 0.1 * e} for e in epochs]
    perf.insert(0, {"perf/compile_s": 2.5, "perf/first_input_s": 0.1})
    for name, lines in (("metrics", metrics), ("perf", perf)):
        lines = (json.dumps({"phase": "album", "epoch": i, "step": 7 * i + 7, **line}) for i, line in enumerate(lines))
        (folder / f"{name}.jsonl").write_text("".join(f"{line}\n" for line in lines) + '{"phase": "al')
    if scored:
        scores, labels = make_predictions(n_items, len(names), target)
        predictions = {"album_ids": np.arange(n_items).astype(str), "album_scores": scores, "album_labels": labels}
        np.savez_compressed(folder / "predictions_test.npz", label_names=names, **predictions)
        found = {"roc_auc_macro": 0.8766, "pr_auc_macro": None, "coverage_at_1": 1.0, "n_items": n_items}
        result = {"split": "test", "data": about["data"], "album": found, "chance": {"roc_auc_macro": 0.5}}
        _write_json(folder / "eval_test.json", result)
    return folder


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")
