"""The charts of a page, of a size that is legible as wide as a phone and as half a screen."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64
from matplotlib.figure import Figure

from mumu_jax.reports.scores import Calibration, Curve
from mumu_jax.reports.svg import COLOURS, DASHES, INK
from mumu_jax.reports.table2 import Row

WIDTH_IN = 4.8
MOST_MARKS = 100
FAINT: dict[str, Any] = {"color": INK, "alpha": 0.5, "linewidth": 1.0}


def losses(lines: Sequence[Mapping[str, Any]]) -> Figure:
    """The loss in training and validation over the epochs of one phase; the epoch that is kept is marked."""
    figure, ax = _new()
    for name, label in (("train/loss", "training"), ("val/loss", "validation")):
        _curve(ax, lines, name, label)
    validated = [line for line in lines if "val/loss" in line]
    if validated:
        best = min(validated, key=lambda line: line["val/loss"])
        ax.axvline(best["epoch"] + 1, linestyle=":", label="kept", **FAINT)
    ax.set_xlabel(_unit(lines))
    ax.set_ylabel("loss")
    ax.legend()
    return figure


def validation(lines: Sequence[Mapping[str, Any]], name: str) -> Figure:
    """One metric of the validation split over the epochs of one phase."""
    figure, ax = _new()
    _curve(ax, lines, name, "", color=COLOURS[2])
    ax.set_xlabel(_unit(lines))
    ax.set_ylabel(name.removeprefix("val/").removesuffix("_macro").replace("roc_auc", "ROC-AUC"))
    return figure


def throughput(lines: Sequence[Mapping[str, Any]]) -> Figure:
    """Examples a second, and the share of time in which the device waited for input, at each step of one phase."""
    figure, axes = _new_pair(3.2, 2)
    found = [line for line in lines if "perf/examples_per_s" in line]
    found.sort(key=lambda line: line["step"])  # a resumed run does the last ones again
    steps = [line["step"] for line in found]
    how: dict[str, Any] = {"marker": _mark(len(found)), "linewidth": 1.0}
    axes[0].plot(steps, [line["perf/examples_per_s"] for line in found], **how)
    waited = [100 * line["perf/input_wait_fraction"] for line in found]
    axes[1].plot(steps, waited, color=COLOURS[1], **how)
    axes[0].set_ylim(bottom=0)
    axes[1].set_ylim(-2, max(10.0, *waited) * 1.1)
    axes[0].set_ylabel("examples/s")
    axes[1].set_ylabel("waited, %")
    axes[1].set_xlabel("step")
    _count_in_whole(axes[1])
    return figure


def rocs(curves: Mapping[int, tuple[int, Curve]]) -> Figure:
    """The ROC curves of all labels by column, each with its place among the styles: the page shows the chosen ones."""
    figure, ax = _new(height_in=4.4)
    ax.plot((0, 1), (0, 1), linestyle=":", **FAINT)
    for column, (place, curve) in curves.items():
        colour, dashes = line_style(place)
        dash = (0, tuple(map(float, dashes.split()))) if dashes else "-"
        ax.plot(curve.false_positive, curve.true_positive, color=colour, linestyle=dash, gid=f"roc-{column}")
    ax.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    ax.set_xlabel("false positive rate")
    ax.set_ylabel("true positive rate")
    return figure


def line_style(place: int) -> tuple[str, str]:
    """The colour and the dashes of the curve in this place: all colours once, then all with the next dashes."""
    return COLOURS[place % len(COLOURS)], DASHES[place // len(COLOURS) % len(DASHES)]


def coverages(ours: Float64[np.ndarray, " ks"], chance: Float64[np.ndarray, " ks"]) -> Figure:
    """Coverage@k for k = 1, 2, …, beside that of random scores."""
    figure, ax = _new()
    ks = np.arange(1, len(ours) + 1)
    ax.plot(ks, ours, marker="o", markersize=3, label="this run")
    ax.plot(ks, chance, linestyle="--", label="random scores", **FAINT)
    _count_in_whole(ax)
    ax.set(xlim=(0.5, len(ks) + 0.5), ylim=(0, 1.03), xlabel="k", ylabel="coverage@k")
    ax.legend(loc="lower right")
    return figure


def calibrations(found: Calibration, cosine: bool) -> Figure:
    """How often labels are true by their score, above how many scores there are."""
    figure, (ax, below) = _new_pair(3.8, 3)
    if not cosine:
        ax.plot((0, 1), (0, 1), linestyle=":", **FAINT)
    ax.plot(found.score, found.frequency, marker="o", markersize=4)
    ax.set(ylim=(-0.03, 1.03), ylabel="share that is true")
    below.bar(found.score, found.count, width=0.04, color=COLOURS[0], alpha=0.6)
    below.set(
        yscale="log", ylim=(0.7, 2 * found.count.max()), ylabel="scores", xlabel="cosine" if cosine else "probability"
    )
    below.minorticks_off()
    if not cosine:
        ax.set_xlim(-0.03, 1.03)
    return figure


def table2(rows: Sequence[Row]) -> Figure:
    """The AUC of each row, ours with its deviation over the seeds beside the paper's."""
    places, names = np.arange(len(rows)), [f"{row.row}_{row.target}" for row in rows]
    figure, ax = _new(height_in=0.8 + 0.17 * len(rows))
    ours = [np.nan if row.roc_auc_mean is None else row.roc_auc_mean for row in rows]
    spread = [row.roc_auc_sd or 0.0 for row in rows]
    printed = [np.nan if row.paper_roc_auc is None else row.paper_roc_auc for row in rows]
    ax.errorbar(ours, places, xerr=spread, fmt="o", markersize=4.5, capsize=2, elinewidth=1, label="ours, ± sd")
    ax.plot(printed, places, "D", markersize=4.5, markerfacecolor="none", color=COLOURS[1], label="the paper")
    ax.axvline(0.5, linestyle=":", **FAINT)
    ax.set_yticks(places, names, fontsize=8, parse_math=False)
    ax.set(ylim=(len(rows) - 0.4, -0.6), xlabel="ROC-AUC (dotted: chance)")
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def _new(height_in: float = 3.0) -> tuple[Figure, Any]:
    figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
    return figure, figure.subplots()


def _new_pair(height_in: float, ratio: float) -> tuple[Figure, Any]:
    """A figure with two axes, the upper one `ratio` times as high, over one x."""
    figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
    return figure, figure.subplots(2, sharex=True, gridspec_kw={"height_ratios": (ratio, 1)})


def _curve(ax: Any, lines: Sequence[Mapping[str, Any]], name: str, label: str, **how: Any) -> None:
    found = [line for line in lines if name in line]
    steps = _epoch_steps(lines) or 1
    epochs = [line["step"] / steps for line in found]
    _count_in_whole(ax)
    ax.plot(epochs, [line[name] for line in found], marker=_mark(len(found)), label=label, **how)


def _count_in_whole(ax: Any) -> None:
    """No ticks between epochs, steps or ranks."""
    ax.xaxis.get_major_locator().set_params(integer=True)


def _mark(n_points: int) -> str:
    """A dot a point, as long as dots can be told apart."""
    return "." if n_points <= MOST_MARKS else ""


def _epoch_steps(lines: Sequence[Mapping[str, Any]]) -> float | None:
    """How many steps an epoch has: one is validated at its end.  None before the first end."""
    ends = (line["step"] / (line["epoch"] + 1) for line in lines if "val/loss" in line)
    return next(ends, None)


def _unit(lines: Sequence[Mapping[str, Any]]) -> str:
    return "epoch" if _epoch_steps(lines) else "step"
