"""Rows of `benchmarks.device` as lines of 80 columns: each as it comes, all beside the predictions, what to look at."""

import csv
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.columns import ABSENT, WANTED, Row, digits, percent
from benchmarks.kernels import Kernel

PREDICTIONS = Path(__file__).parent / "predictions.csv"
WIDTH = 80
FIRST = "audio_high_4x70"  # the network that matters most
SLOW = 1.5  # times slower than predicted
GOAL_MFU = 0.35
LARGE, SMALL = 256, 32
LAUNCHES = "55–90 µs"  # a step's, on paper


class Prediction(NamedTuple):
    """The predicted range of seconds an epoch, and the goal if there is one."""

    low_s: float
    high_s: float
    goal_s: float | None

    def __str__(self) -> str:
        return "–".join(f"{seconds:g}" for seconds in sorted({self.low_s, self.high_s}))


Predictions = Mapping[tuple[str, int], Prediction]


def read_predictions(path: Path = PREDICTIONS) -> Predictions:
    """Return the predictions for an H200, by config and batch size."""
    with path.open(newline="", encoding="utf-8") as file:
        return {
            (row["config"], int(row["batch_size"])): Prediction(
                float(row["low_s"]), float(row["high_s"]), float(row["goal_s"]) if row["goal_s"] else None
            )
            for row in csv.DictReader(file)
        }


def slowness(row: Row, predictions: Predictions) -> float | None:
    """Return how many times slower a training step is than the slow end of its prediction; None without one."""
    prediction = predictions.get((row["config"], row["batch_size"]))
    return row["epoch_s"] / prediction.high_s if prediction else None


def steps(rows: Sequence[Row]) -> dict[tuple[str, int], Row]:
    """Return the first row of each network's training step, by config and batch size."""
    found = [row for row in rows if row["benchmark"] == "train_step"]
    return {(row["config"], row["batch_size"]): row for row in reversed(found)}


def line_of(row: Row, seconds: float, predictions: Predictions) -> str:
    """Return a measured row as a line that begins with the seconds since the start."""
    head = f"{seconds:5.0f} s  {row['config']:<15} {row['batch_size']:>5,}  "
    return textwrap.fill(head + _text(row, predictions), WIDTH - 1, subsequent_indent=" " * len(head))


def _text(row: Row, predictions: Predictions) -> str:
    if row["benchmark"] == "kernel_times":
        return f"{row['n_kernels']} kernels, {digits(row['seconds'] * 1e6)} µs a step, on {row['mode']}"
    if row["benchmark"] == "metrics":
        peer = f", {digits(row['ratio'])} × scikit-learn" if row["ratio"] else ""
        return f"{digits(row['examples_per_s'])} albums/s{peer}"
    text = f"{digits(row['epoch_s'])} s/epoch"
    if row["mfu"]:
        text += f", {percent(row['mfu'])} of peak"
    if row["benchmark"] == "other_formulations":
        return f"{text}: {row['mode']}"
    if row["benchmark"] == "resident_epoch":
        return f"{text}, resident: {digits(row['examples_per_s'])}/s"
    if row["ratio"]:
        return f"{text}, {digits(row['ratio'])} × PyTorch ({row['peer_way']})"
    ratio = slowness(row, predictions)
    return text if ratio is None else f"{text}, {digits(ratio)} × predicted"


def summary(rows: Sequence[Row], predictions: Predictions) -> Iterator[str]:
    """Yield the lines that end a session: the predicted steps, the slowest kernels, and what to look at."""
    yield f"\nSeconds an epoch, beside those predicted for an {WANTED}:"
    yield from _predicted(rows, predictions)
    yield from _kernels(rows)
    yield "\nWhat to look at, in this order:"
    for i, text in enumerate(what_next(rows, predictions), start=1):
        yield textwrap.fill(text, WIDTH - 1, initial_indent=f"{i}. ", subsequent_indent="   ")
    yield ""


def _predicted(rows: Sequence[Row], predictions: Predictions) -> Iterator[str]:
    measured = steps(rows)
    form = "{:<16}  {:>5}  {:>8}  {:>9}  {:>9}  {:>5}  {:>7}".format
    yield form("network", "batch", "s/epoch", "predicted", "ratio", "goal", "of peak")
    for key, prediction in predictions.items():
        row, goal = measured.get(key), f"{prediction.goal_s:g}" if prediction.goal_s else ABSENT
        if row is None:
            yield form(*key, ABSENT, str(prediction), ABSENT, goal, ABSENT)
            continue
        ratio = row["epoch_s"] / prediction.high_s
        shown = f"{digits(ratio)} slow" if ratio > SLOW else digits(ratio)
        yield form(*key, digits(row["epoch_s"]), str(prediction), shown, goal, percent(row["mfu"]))


def _kernels(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        if row["benchmark"] == "kernel_times":
            yield f"\nKernels of {row['config']} at {row['batch_size']}: share, time and calls of a step"
            yield from (str(Kernel(**kernel))[: WIDTH - 1] for kernel in row["kernels"])


def what_next(rows: Sequence[Row], predictions: Predictions) -> list[str]:
    """Return what to look at, in this order, with what was measured of it."""
    measured = steps(rows)
    points = [_first(measured, rows, predictions), _slow(measured, rows, predictions), _small(measured)]
    return [*points, _others(measured, rows)]


def _first(measured: Mapping[tuple[str, int], Row], rows: Sequence[Row], predictions: Predictions) -> str:
    row = measured.get((FIRST, LARGE))
    if row is None:
        return f"{FIRST} at {LARGE}: not measured."
    goal_s = predictions[FIRST, LARGE].goal_s or 0
    reached = row["epoch_s"] <= goal_s and row["mfu"] >= GOAL_MFU
    text = (
        f"{FIRST} at {LARGE}: {digits(row['epoch_s'])} s an epoch (goal {goal_s}), {percent(row['mfu'])} of the peak "
    )
    text += f"(goal {percent(GOAL_MFU)}): {'reached' if reached else 'missed'}."
    for epoch in rows:
        if epoch["benchmark"] == "resident_epoch" and (epoch["config"], epoch["batch_size"]) == (FIRST, LARGE):
            text += f" A resident epoch takes {digits(epoch['epoch_s'])} s: the difference is the feed."
    return text


def _slow(measured: Mapping[tuple[str, int], Row], rows: Sequence[Row], predictions: Predictions) -> str:
    ratios = {key: slowness(row, predictions) or 0.0 for key, row in measured.items()}
    slow = [f"{name} at {size} ({digits(ratio)} ×)" for (name, size), ratio in ratios.items() if ratio > SLOW]
    text = f"{SLOW} times slower than predicted, or more: {', '.join(slow) or 'none that was measured'}."
    others = sorted((row for row in rows if row["benchmark"] == "other_formulations"), key=lambda row: row["epoch_s"])
    if slow:
        text += " Which formulation, which kernel? (python -m benchmarks.kernel_times --config=NAME)"
    if others:
        best = others[0]
        text += f" The fastest other formulation of {best['config']}: {best['mode']}, {digits(best['epoch_s'])} s."
    return text


def _small(measured: Mapping[tuple[str, int], Row]) -> str:
    times = {name: SMALL / row["examples_per_s"] for (name, size), row in measured.items() if size == SMALL}
    if not times:
        return f"Batch {SMALL}: not measured."
    name = min(times, key=lambda name: times[name])
    text = f"Batch {SMALL}: the quickest step is {name}'s, {digits(times[name] * 1e6)} µs, where launches alone take "
    return text + f"{LAUNCHES} on paper; loop.chunk_steps and unrolling lower that."


def _others(measured: Mapping[tuple[str, int], Row], rows: Sequence[Row]) -> str:
    metric = next((row for row in rows if row["config"] == "roc_auc_macro"), None)
    images = measured.get(("image_resnet101", LARGE))
    ratio = f"{digits(metric['ratio'])} × scikit-learn" if metric and metric["ratio"] else "not measured"
    rate = f"{digits(images['examples_per_s'])} images/s" if images else "not measured"
    return f"ROC-AUC of 3,147 albums × 250 labels: {ratio}. ResNet-101 at {LARGE}: {rate}."
