"""Tables of published numbers of other data: a row for each published line, at any level of a run's evaluation."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from mumu_jax.objectives.decisions import DECISIONS
from mumu_jax.objectives.metrics import METRICS
from mumu_jax.reports.tables.base import Plan, Point, Table
from mumu_jax.reports.tables.plan import describe_changes
from mumu_jax.reports.tables.results import Result, average, deviation, read_failures, read_results, reasons


@dataclass(frozen=True)
class Line:
    """A published line: what `job` shows of it, at a level of its evaluation, and the numbers printed by metric.

    `origin` says whose numbers they are, and `why` they cannot be compared, or what differs.
    """

    job: str
    name: str
    level: str = "album"
    printed: Mapping[str, float] = field(default_factory=dict)
    origin: str = ""
    why: str = ""


@dataclass(frozen=True)
class Value:
    """A metric: our mean over the seeds with its deviation, and the printed number; None is not known."""

    mean: float | None = None
    sd: float | None = None
    printed: float | None = None


@dataclass(frozen=True)
class Row:
    """A line as measured.  `cuts` says what the preset made smaller, `note` why there is no result."""

    job: str
    name: str
    level: str
    seeds: int
    values: Mapping[str, Value]
    origin: str = ""
    why: str = ""
    cuts: str = ""
    note: str = ""


class Comparison(Table):
    """A table of published lines; `metrics` are the columns, the main one first, `notes` are lines below all rows."""

    lines: Sequence[Line]
    metrics: Sequence[str]
    notes: ClassVar[Sequence[str]] = ()
    n_names = 1

    def lines_of(self, plan: Plan, workdir: Path) -> Sequence[Line]:
        """Return the lines, whose numbers may depend on the data."""
        return self.lines

    def measure(self, plan: Plan, workdir: Path) -> list[Row]:
        """Return the rows of the plan, and others that the folder has runs of, with all seeds that are there."""
        failures, lines = read_failures(workdir), self.lines_of(plan, workdir)
        lines = [line for line in lines if self._is_shown(line, plan, workdir)]
        results = {job: read_results(workdir, job) for job in dict.fromkeys(line.job for line in lines)}
        return [self._measure_line(line, plan, results[line.job], reasons(failures, line.job)) for line in lines]

    def _is_shown(self, line: Line, plan: Plan, workdir: Path) -> bool:
        return line.job in plan.rows or (workdir / line.job).exists()

    def _measure_line(self, line: Line, plan: Plan, results: Sequence[Result], failed: list[str]) -> Row:
        scored = [_metrics_at(line.level, one.evaluation) for one in results if line.level in one.evaluation]
        values = {}
        for metric in self.metrics:
            of_seeds = [level.get(metric) for level in scored]
            values[metric] = Value(average(statistics.fmean, of_seeds), deviation(of_seeds), line.printed.get(metric))
        impossible = plan.impossible.get(line.job)
        notes = [impossible] if impossible and not results else failed
        if results and not scored:
            notes.append("a song has one piece here, or too many scores to be kept")
        return Row(
            job=line.job,
            name=line.name,
            level=line.level,
            seeds=len(scored),
            values=values,
            origin=line.origin,
            why=line.why,
            cuts=describe_changes(self, plan.preset, line.job) if scored else "",
            note="; ".join(notes),
        )

    def job_of(self, row: Row) -> str:
        """Return the row's job."""
        return row.job

    def points(self, rows: Sequence[Row]) -> list[Point]:
        """Return the first metric of each row."""
        values = [row.values[self.metrics[0]] for row in rows]
        return [Point(row.name, value.mean, value.sd, value.printed) for row, value in zip(rows, values, strict=True)]

    def remarks(self, rows: Sequence[Row]) -> list[str]:
        """Return lines that say what cannot be compared and why, what was made smaller, and what has no result."""
        lines: dict[str, list[str]] = {}
        for row in rows:
            for said in (f"published by {row.origin}: {row.why}" if row.origin else row.why, row.cuts, row.note):
                if said:
                    lines.setdefault(said, []).append(row.name)
        return [*(f"{', '.join(names)}: {said}" for said, names in lines.items()), *self.notes]

    def flat(self, row: Row) -> dict[str, Any]:
        """Return the row's fields, those of a metric as three columns."""
        fields = {name: getattr(row, name) for name in ("job", "name", "level", "seeds")}
        for metric, value in row.values.items():
            fields |= {metric: value.mean, f"{metric}_sd": value.sd, f"{metric}_published": value.printed}
        return fields | {name: getattr(row, name) for name in ("origin", "why", "cuts", "note")}

    def from_flat(self, lines: Sequence[Mapping[str, str]]) -> list[Row]:
        """Return the rows of a file's lines."""

        def number(line: Mapping[str, str], name: str) -> float | None:
            return float(line[name]) if name in line else None

        return [
            Row(
                **{name: line[name] for name in ("job", "name", "level")},
                seeds=int(line["seeds"]),
                values={
                    metric: Value(*(number(line, f"{metric}{end}") for end in ("", "_sd", "_published")))
                    for metric in self.metrics
                },
                **{name: line.get(name, "") for name in ("origin", "why", "cuts", "note")},
            )
            for line in lines
        ]


def _metrics_at(level: str, evaluation: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the metrics at a level; of albums also those of the genres given at a probability of 0.5."""
    given = evaluation.get("decisions", {}) if level == "album" else {}
    return {**given.get("at_half", {}), **evaluation[level]}


def columns_of(metrics: Sequence[str], n_digits: int = 3) -> list[tuple[str, Callable[[Row], str]]]:
    """Return the columns of a table: name, seeds, and ours beside the published number of each metric."""
    columns: list[tuple[str, Callable[[Row], str]]] = [
        ("", lambda row: row.name),
        ("seeds", lambda row: str(row.seeds or "")),
    ]
    for metric in metrics:
        columns += [(_title(metric), _ours(metric, n_digits)), ("published", _printed(metric, n_digits))]
    return columns


def _title(metric: str) -> str:
    return METRICS[metric].title if metric in METRICS else DECISIONS[metric].title


def _ours(metric: str, n_digits: int) -> Callable[[Row], str]:
    def cell(row: Row) -> str:
        value = row.values[metric]
        spread = "" if value.sd is None else f" ± {value.sd:.{n_digits}f}"
        return "" if value.mean is None else f"{value.mean:.{n_digits}f}{spread}"

    return cell


def _printed(metric: str, n_digits: int) -> Callable[[Row], str]:
    def cell(row: Row) -> str:
        printed = row.values[metric].printed
        return "" if printed is None else f"{printed:.{n_digits}f}"

    return cell
