"""The charts of a page, of a size that is legible as wide as a phone and as half a screen."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from cycler import cycler
from jaxtyping import Float64
from matplotlib.figure import Figure

from mumu_jax.reports.scores import Calibration, Curve
from mumu_jax.reports.tables.base import Point
from mumu_jax.system.pictures import render

# Okabe and Ito's colours without black and yellow: told apart by the colour-blind, on a light ground and a dark one.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHES = ("", "5 2", "1.5 1.5", "6 2 1.5 2")  # of SVG's stroke-dasharray
WIDTH_IN = 4.8
MAX_MARKED = 100  # points of a line
FAINT: dict[str, Any] = {"color": "black", "alpha": 0.5, "linewidth": 1.0}
STYLE: Any = {
    "font.size": 9.0,
    "axes.labelsize": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "black",
    "grid.alpha": 0.13,
    "grid.linewidth": 0.6,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "axes.prop_cycle": cycler(color=COLOURS),
}


def style() -> Any:
    """Return the context in which a page's charts are made."""
    return matplotlib.rc_context(STYLE)


def as_image(figure: Figure) -> str:
    """Return the figure as the address of an `<img>`: an SVG that is stored in the address itself."""
    drawing = render(figure, "svg", transparent=True)
    return f"data:image/svg+xml;base64,{base64.b64encode(drawing).decode()}"


def losses(lines: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw the training and validation losses over one phase's epochs, and mark the epoch whose weights are kept."""
    figure, ax = _new()
    for name, label in (("train/loss", "training"), ("val/loss", "validation")):
        _curve(ax, lines, name, label=label)
    validated = [line for line in lines if "val/loss" in line]
    if validated:
        best = min(validated, key=lambda line: line["val/loss"])
        ax.axvline(best["epoch"] + 1, linestyle=":", label="kept", **FAINT)
    ax.set_ylabel("loss")
    ax.legend()
    return figure


def validation(lines: Sequence[Mapping[str, Any]], name: str) -> Figure:
    """Draw one metric of the validation split over one phase's epochs."""
    figure, ax = _new()
    _curve(ax, lines, name, color=COLOURS[2])
    ax.set_ylabel(name.removeprefix("val/").removesuffix("_macro").replace("roc_auc", "ROC-AUC"))
    return figure


def throughput(lines: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw examples a second, and the share of time in which the device waited for input, over one phase's steps."""
    figure, (ax, below) = _new(3.2, ratios=(2, 1))
    timed = [line for line in lines if "perf/examples_per_s" in line]
    timed.sort(key=lambda line: line["step"])  # a resumed run repeats the last ones
    steps = [line["step"] for line in timed]
    waited = [100 * line["perf/input_wait_fraction"] for line in timed]
    how: dict[str, Any] = {"marker": _marker(len(timed)), "linewidth": 1.0}
    ax.plot(steps, [line["perf/examples_per_s"] for line in timed], **how)
    below.plot(steps, waited, color=COLOURS[1], **how)
    ax.set(ylim=(0, None), ylabel="examples/s")
    below.set(ylim=(-2, max(10.0, *waited) * 1.1), ylabel="waited, %", xlabel="step")
    _whole_ticks(below)
    return figure


def roc_path(curve: Curve) -> str:
    """Return the curve as an SVG path in a square of 100 × 100."""
    points = zip(100 * curve.false_positive, 100 - 100 * curve.true_positive, strict=True)
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def line_style(place: int) -> tuple[str, str]:
    """Return the colour and the dashes of a curve by its place: all colours once, then all with the next dashes."""
    return COLOURS[place % len(COLOURS)], DASHES[place // len(COLOURS) % len(DASHES)]


def coverages(ours: Float64[np.ndarray, " ks"], chance: Float64[np.ndarray, " ks"]) -> Figure:
    """Draw coverage@k for k = 1, 2, …, and that of random scores."""
    figure, ax = _new()
    ks = np.arange(1, len(ours) + 1)
    ax.plot(ks, ours, marker="o", markersize=3, label="these scores")
    ax.plot(ks, chance, linestyle="--", label="random scores", **FAINT)
    _whole_ticks(ax)
    ax.set(xlim=(0.5, len(ks) + 0.5), ylim=(0, 1.03), xlabel="k", ylabel="coverage@k")
    ax.legend(loc="lower right")
    return figure


def calibrations(calibration: Calibration, cosine: bool) -> Figure:
    """Draw how often labels are true by their score, above how many scores there are."""
    figure, (ax, below) = _new(3.8, ratios=(3, 1))
    if not cosine:
        ax.plot((0, 1), (0, 1), linestyle=":", **FAINT)
        ax.set_xlim(-0.03, 1.03)
    ax.plot(calibration.score, calibration.frequency, marker="o", markersize=4)
    ax.set(ylim=(-0.03, 1.03), ylabel="share that is true")
    below.bar(calibration.score, calibration.count, width=0.04, color=COLOURS[0], alpha=0.6)
    below.set(yscale="log", ylim=(0.7, 2 * calibration.count.max()), ylabel="scores")
    below.yaxis.set_major_formatter("{x:,.0f}")
    below.minorticks_off()
    below.set_xlabel("cosine" if cosine else "probability")
    return figure


def importances(shares: Mapping[str, float]) -> Figure:
    """Draw each input's share of what the splits of boosted trees have gained, the largest first."""
    figure, ax = _new(0.8 + 0.17 * len(shares))
    ax.barh(range(len(shares)), list(shares.values()), color=COLOURS[0])
    ax.set_yticks(range(len(shares)), list(shares), fontsize=8)
    ax.invert_yaxis()
    ax.set_xlabel("share of the gain")
    return figure


def published(points: Sequence[Point], axis: str, chance: float | None) -> Figure:
    """Draw the main metric of a table's rows, ours with its deviation over the seeds beside the printed number."""
    places = np.arange(len(points))
    figure, ax = _new(0.8 + 0.17 * len(points))
    ours, printed = (
        [np.nan if value is None else value for value in values]
        for values in ([point.ours for point in points], [point.printed for point in points])
    )
    spread = [point.sd or 0.0 for point in points]
    ax.errorbar(ours, places, xerr=spread, fmt="o", markersize=4.5, capsize=2, elinewidth=1, label="ours, ± sd")
    ax.plot(printed, places, "D", markersize=4.5, markerfacecolor="none", color=COLOURS[1], label="published")
    if chance is not None:
        ax.axvline(chance, linestyle=":", **FAINT)
    ax.set_yticks(places, [point.name for point in points], fontsize=8)
    ax.set(ylim=(len(points) - 0.4, -0.6), xlabel=axis if chance is None else f"{axis} (dotted: chance)")
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def _new(height_in: float = 3.0, ratios: Sequence[float] = (1,)) -> tuple[Figure, Any]:
    """Return a figure with axes of these relative heights over one x."""
    figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
    return figure, figure.subplots(len(ratios), sharex=True, height_ratios=ratios)


def _curve(ax: Any, lines: Sequence[Mapping[str, Any]], name: str, **how: Any) -> None:
    """Draw one logged value over epochs; over steps before the first epoch has ended."""
    logged = [line for line in lines if name in line]
    epoch_steps = next((line["step"] / (line["epoch"] + 1) for line in lines if "val/loss" in line), None)
    epochs = [line["step"] / (epoch_steps or 1) for line in logged]
    ax.plot(epochs, [line[name] for line in logged], marker=_marker(len(logged)), **how)
    ax.set_xlabel("epoch" if epoch_steps else "step")
    _whole_ticks(ax)


def _whole_ticks(ax: Any) -> None:
    """Put no ticks between epochs, steps or ranks."""
    ax.xaxis.get_major_locator().set_params(integer=True)


def _marker(n_points: int) -> str:
    """Return a dot for each point if they can be told apart."""
    return "." if n_points <= MAX_MARKED else ""
