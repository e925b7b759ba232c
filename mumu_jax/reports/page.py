"""One HTML file about a run, an ensemble or the runs of a table; everything that it shows is stored in it."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import jinja2
import numpy as np

from mumu_jax.errors import UserError
from mumu_jax.objectives.metrics import coverage_by_chance
from mumu_jax.reports import charts, scores
from mumu_jax.reports.figures import figures_of
from mumu_jax.reports.run import (
    Predictions,
    Run,
    count,
    decisions_by_way,
    metric_name,
    metrics_by_level,
    read_run,
    share,
)
from mumu_jax.reports.tables import table_in
from mumu_jax.reports.tables.base import Table
from mumu_jax.reports.tables.output import read_table
from mumu_jax.reports.tables.results import SETTINGS
from mumu_jax.runs.calibration import WAYS
from mumu_jax.system.files import replacing
from mumu_jax.system.lines import printable

MAX_K = 50
N_PAIRS = 100
N_IMPORTANT = 20
CURVES_AT_FIRST = 6


class Chart(NamedTuple):
    """A picture with its words; `image` is an `<img>`'s address.  If it is None, `caption` says why."""

    title: str
    image: str | None
    caption: str = ""


class RocCurve(NamedTuple):
    """A label's ROC curve as the page draws it; the reader chooses which ones are shown."""

    name: str
    path: str
    colour: str
    dashes: str
    at_first: bool


def write_page(path: Path, workdir: Path, split: str | None = None) -> None:
    """Write the page of `make_page` to a file."""
    page = make_page(workdir, split)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        part.write_text(page, encoding="utf-8", errors="backslashreplace")  # folders may be named by any bytes


def make_page(workdir: Path, split: str | None) -> str:
    """Return the page of the run or ensemble in `workdir`, on `split` (None: a scored one), or of `reproduce`'s runs.

    Raises UserError if `workdir` is none of these, or has a damaged file.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "page"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_literal,
    )
    environment.filters |= {"share": share, "count": count, "metric_name": metric_name, "json": _json}
    with charts.style():
        if table := table_in(workdir):
            if split:
                raise UserError(
                    f"--split={split} is for a run, and {workdir} holds {table.title}, of test albums; leave it out"
                )
            content = _about_table(workdir, table)
        else:
            content = _about_run(read_run(workdir, split))
    return environment.get_template("report.html.j2").render(**content)


def _literal(value: Any) -> Any:
    """Return a value for the page: a name with every character of it visible, anything else as it is."""
    return printable(value) if type(value) is str else value


def _about_run(run: Run) -> dict[str, Any]:
    return {
        "title": run.title,
        "run": run,
        "levels": list(run.levels),
        "result": metrics_by_level(run.levels),
        "ways": list(WAYS.values()),
        "decisions": decisions_by_way(run.result or {}),
        "training": list(_training(run)),
        "speed": list(_speed(run)),
        "table": None,
        "labels": None,
        "figures": list(_figures(run.folder)) if run.is_trained else [],
        **(_about_scores(run, run.predictions) if run.predictions else {}),
    }


def _about_scores(run: Run, predictions: Predictions) -> dict[str, Any]:
    """Return what the saved predictions show."""
    predicted, labels, objective = predictions.scores, predictions.labels, run.objective
    rows = scores.by_label(predicted, labels, run.label_names, run.seen)
    rows.sort(key=lambda row: (-row.support, row.column))
    curves: dict[int, RocCurve] = {}  # by column
    for place, row in enumerate(row for row in rows if row.roc_auc is not None):
        path = charts.roc_path(scores.roc(predicted[:, row.column], labels[:, row.column]))
        curves[row.column] = RocCurve(row.name, path, *charts.line_style(place), place < CURVES_AT_FIRST)
    n_items, n_labels = predicted.shape
    coverage = scores.coverage(predicted, MAX_K)
    chance = np.array([coverage_by_chance(k, n_labels, n_items) for k in range(1, len(coverage) + 1)])
    calibration = scores.calibration(predictions.readable, labels, objective)
    calibrated = run.calibrator and scores.calibration(predictions.readable, labels, objective, run.calibrator)
    return {
        "n_items": n_items,
        "names": run.label_names,
        "labels": rows,
        "accuracies": (run.result or {}).get("accuracy_by_genre"),
        "curves": curves,
        "coverage": charts.as_image(charts.coverages(coverage, chance)),
        "n_ks": len(coverage),
        "calibration": charts.as_image(charts.calibrations(calibration, objective.unit_output)),
        "calibration_error": calibration.error,
        "calibrated": calibrated and charts.as_image(charts.calibrations(calibrated, cosine=False)),
        "calibrated_error": calibrated and calibrated.error,
        "sharing": run.calibrator and int((~run.calibrator.own).sum()),
        "cosines": objective.unit_output,
        "single_label": objective.single_label,
        "n_bins": len(scores.PROBABILITIES) - 1,
        "max_pairs": N_PAIRS,
        "pairs": scores.confused_pairs(predicted, labels, N_PAIRS),
    }


def _about_table(workdir: Path, table: Table) -> dict[str, Any]:
    rows, path = read_table(table, workdir / table.csv), workdir / SETTINGS
    points = table.points(rows)
    return {
        "title": table.title,
        "run": None,
        "labels": None,
        "table": table,
        "rows": rows,
        "n_measured": sum(point.ours is not None for point in points),
        "links": {job: list(_reports(workdir, job)) for job in map(table.job_of, rows)},
        "by_row": charts.as_image(charts.published(points, table.axis, table.chance)),
        "about": json.loads(path.read_text(encoding="utf-8")) if path.exists() else {},
        "figures": list(_figures(workdir)),
    }


def _reports(workdir: Path, job: str) -> Iterator[tuple[str, str]]:
    """Yield (name, address relative to the page) of the reports that a job's runs have."""
    for report in sorted(workdir.glob(f"{job}/seed*/report.html")):
        yield report.parent.name, quote(report.relative_to(workdir).as_posix())


def _training(run: Run) -> Iterator[Chart]:
    for phase, lines in _by_phase(run.metrics).items():
        title = f"{phase.capitalize()} network"
        yield Chart(f"{title}: loss", charts.as_image(charts.losses(lines)))
        for name in sorted({name for line in lines for name in line if name.startswith("val/")} - {"val/loss"}):
            image = charts.as_image(charts.validation(lines, name))
            yield Chart(f"{title}: {metric_name(name.removeprefix('val/'))}, validation", image)
    if run.importance:
        largest = dict(itertools.islice(run.importance.items(), N_IMPORTANT))
        caption = f"The {len(largest)} of {len(run.importance)} inputs whose splits lower the loss most."
        yield Chart("Inputs that the trees use", charts.as_image(charts.importances(largest)), caption)


def _speed(run: Run) -> Iterator[Chart]:
    for phase, lines in _by_phase(run.perf).items():
        remarks = [
            f"compiled in {line['perf/compile_s']:.1f} s, first input after {line['perf/first_input_s']:.1f} s"
            for line in lines
            if "perf/compile_s" in line
        ]
        rates = [line["perf/examples_per_s"] for line in lines if "perf/examples_per_s" in line]
        if rates:
            remarks.append(f"median {np.median(rates):,.0f} examples/s")
        if epochs := [line["perf/epoch_s"] for line in lines if "perf/epoch_s" in line]:
            remarks.append(f"median {np.median(epochs):,.1f} s an epoch")
        image = charts.as_image(charts.throughput(lines)) if rates else None
        yield Chart(f"{phase.capitalize()} network", image, "; ".join(remarks))


def _figures(workdir: Path) -> Iterator[Chart]:
    """Yield the figures that there are: why one is missing, `report figures` says."""
    for drawing in figures_of(workdir):
        if drawing.figure:
            yield Chart(drawing.title, charts.as_image(drawing.figure), drawing.caption)


def _by_phase(lines: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return the lines by phase, in the order of training."""
    phases: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        phases.setdefault(line["phase"], []).append(line)
    return phases


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
