"""One HTML file about a run, or about the runs of Table 2: all that it shows lies in it."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import jinja2
import numpy as np
from markupsafe import Markup

from mumu_jax.errors import UserError
from mumu_jax.objectives.metrics import coverage_by_chance
from mumu_jax.reports import charts, scores, svg, what
from mumu_jax.reports.figures import figures_of
from mumu_jax.reports.run import Run, read_run
from mumu_jax.reports.table2 import SETTINGS, TABLE, Row, read_table

PARTS = Path(__file__).parent / "page"
MOST_K = 50
MOST_PAIRS = 100
CURVES_AT_FIRST = 6


class Chart(NamedTuple):
    """A drawing with its words; without a drawing, `caption` says why there is none."""

    title: str
    drawn: Markup | None
    caption: str


def make_page(workdir: Path, split: str | None) -> str:
    """The page of the run in `workdir`, on `split` (None: what was scored), or of the runs of `mumu_jax.reproduce`.

    Raises UserError if `workdir` is neither, or has a damaged file.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PARTS),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"share": what.share, "count": what.count, "name": what.name_of, "json": _json}
    read = {name: Markup((PARTS / name).read_text(encoding="utf-8")) for name in ("style.css", "script.js")}
    with svg.style():
        if (workdir / TABLE).exists():
            if split:
                raise UserError(
                    f"--split={split} is for a run, and {workdir} holds Table 2, of test albums; leave it out"
                )
            content = _about_table(workdir)
        else:
            content = _about_run(read_run(workdir, split))
    page = environment.get_template("report.html.j2")
    return page.render(**content, figures=list(_figures(workdir)), style=read["style.css"], script=read["script.js"])


def _about_run(run: Run) -> dict[str, Any]:
    content: dict[str, Any] = {
        "title": run.config.name or run.folder.name,
        "sees": run.config.fusion.modalities.replace("+", ", ") if run.sources else run.config.modality,
        "run": run,
        "levels": [shown for level, shown in what.LEVELS.items() if level in (run.result or {})],
        "result": what.metrics_by_level(run.result or {}),
        "facts": list(what.facts(run)),
        "settings": what.settings(run.config),
        "training": list(_training(run)),
        "speed": list(_speed(run)),
        "table": None,
        "labels": None,
    }
    return content | (_about_scores(run) if run.predictions else {})


def _about_scores(run: Run) -> dict[str, Any]:
    """What the saved predictions tell."""
    assert run.predictions
    found, labels = run.predictions.scores, run.predictions.labels
    target, n_items = run.config.target.kind, len(found)
    rows = scores.by_label(found, labels, run.label_names, run.seen)
    rows.sort(key=lambda row: (-row.support, row.column))
    drawable = [row.column for row in rows if row.roc_auc is not None]
    places = {column: place for place, column in enumerate(drawable)}
    curves = {column: (place, scores.roc(found[:, column], labels[:, column])) for column, place in places.items()}
    drawn = str(svg.inline(charts.rocs(curves), "rocs"))
    for column in drawable[:CURVES_AT_FIRST]:
        drawn = drawn.replace(f'id="roc-{column}"', f'id="roc-{column}" class="on"')
    coverage = scores.coverage(found, MOST_K)
    n_labels = len(run.label_names)
    chance = np.array([coverage_by_chance(k, n_labels, n_items) for k in range(1, len(coverage) + 1)])
    calibration = scores.calibration(found, labels, target)
    return {
        "n_items": n_items,
        "names": run.label_names,
        "labels": rows,
        "accuracies": (run.result or {}).get("accuracy_by_genre"),
        "styles": {column: charts.line_style(place) for column, place in places.items()},
        "at_first": drawable[:CURVES_AT_FIRST],
        "rocs": Markup(drawn),
        "coverage": svg.inline(charts.coverages(coverage, chance), "coverage"),
        "n_ks": len(coverage),
        "calibration": calibration,
        "calibrated": svg.inline(charts.calibrations(calibration, target == "cosine"), "calibration"),
        "cosine": target == "cosine",
        "softmax": target == "softmax",
        "n_bins": len(scores.PROBABILITIES) - 1,
        "most_pairs": MOST_PAIRS,
        "pairs": scores.confused_pairs(found, labels, MOST_PAIRS),
    }


def _about_table(workdir: Path) -> dict[str, Any]:
    rows = read_table(workdir / TABLE)
    links = {(row.row, row.target): list(_reports(workdir, row)) for row in rows}
    chart = svg.inline(charts.table2(rows), "table2")
    settings = workdir / SETTINGS
    about = json.loads(settings.read_text(encoding="utf-8")) if settings.exists() else {}
    content = {"title": "Table 2", "run": None, "table": rows, "links": links, "drawn_table": chart, "labels": None}
    return content | {"about": about}


def _reports(workdir: Path, row: Row) -> Iterator[tuple[str, str]]:
    """The reports of a row's runs that there are: a name, and where it is from the page."""
    for report in sorted(workdir.glob(f"{row.row}_{row.target}/seed*/report.html")):
        yield report.parent.name, quote(report.relative_to(workdir).as_posix())


def _training(run: Run) -> Iterator[Chart]:
    for phase, lines in _phases(run.metrics).items():
        title = f"{phase.capitalize()} network"
        yield Chart(f"{title}: loss", svg.inline(charts.losses(lines), f"{phase}-loss"), "")
        for name in sorted({name for line in lines for name in line if name.startswith("val/")} - {"val/loss"}):
            drawn = svg.inline(charts.validation(lines, name), f"{phase}-{name}")
            yield Chart(f"{title}: {what.name_of(name.removeprefix('val/'))}, validation", drawn, "")


def _speed(run: Run) -> Iterator[Chart]:
    for phase, lines in _phases(run.perf).items():
        starts = [line for line in lines if "perf/compile_s" in line]
        said = [
            f"compiled in {line['perf/compile_s']:.1f} s, first input after {line['perf/first_input_s']:.1f} s"
            for line in starts
        ]
        rates = [line["perf/examples_per_s"] for line in lines if "perf/examples_per_s" in line]
        if rates:
            said.append(f"median {np.median(rates):,.0f} examples/s")
        if epochs := [line["perf/epoch_s"] for line in lines if "perf/epoch_s" in line]:
            said.append(f"median {np.median(epochs):,.1f} s an epoch")
        drawn = svg.inline(charts.throughput(lines), f"{phase}-speed") if rates else None
        yield Chart(f"{phase.capitalize()} network", drawn, "; ".join(said))


def _figures(workdir: Path) -> Iterator[Chart]:
    for drawing in figures_of(workdir):
        if drawing.figure:
            yield Chart(drawing.title, svg.inline(drawing.figure, drawing.name), drawing.caption)
        else:
            yield Chart(drawing.title, None, f"There is none: {drawing.reason}.")


def _phases(lines: list[dict[str, Any]]) -> Mapping[str, list[dict[str, Any]]]:
    """The lines by phase, in the order of training."""
    found: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        found.setdefault(line["phase"], []).append(line)
    return found


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
