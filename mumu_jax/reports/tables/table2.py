"""Table 2 of Oramas et al. 2017: each row as measured beside the row as printed."""

import dataclasses
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from mumu_jax.data.store.records import DESCRIPTION, read_description
from mumu_jax.experiments import load_config, load_experiments
from mumu_jax.objectives.metrics import KS
from mumu_jax.reports.tables.base import Job, Plan, Point, Table
from mumu_jax.reports.tables.plan import describe_changes, training_job
from mumu_jax.reports.tables.results import Result, average, deviation, read_failures, read_results, reasons

EXACT_BELOW = 100_000  # parameters; larger numbers in millions
# The paper's order, in which the runs that a fusion joins come before it.
ORDER = ("timbre", "audio", "mel", "text", "image", "fusion")
NOT_IN_PAPER = {  # with what the table says of them
    "audio_musicnn_mtt_logistic": "not in the paper: a published network that has heard none of MuMu's songs, frozen",
    "image_resnet101_cosine": "not in the paper, which names it as future work",
}
# The runs that a fusion joins, the paper's A, T and I; and the T for data without named entities.
SOURCES = {"audio": "audio_high_4x70_cosine", "text": "text_vsm_sem_cosine", "image": "image_resnet101_logistic"}
TEXT_WITHOUT_ENTITIES = "text_vsm_cosine"


@dataclass(frozen=True)
class Row:
    """One row: its experiment is `row`_`target`.  None stands for a number that was not measured or not printed.

    The metrics are of the test split's albums, means over `seeds` runs; `epoch_s` is the median, training and
    validation.  `cuts` says what the preset made smaller, `note` that the paper does not have it, or why there is no
    result.
    """

    row: str
    target: str
    params: int | None = None
    epoch_s: float | None = None
    roc_auc_mean: float | None = None
    roc_auc_sd: float | None = None
    coverage_at_1: float | None = None
    coverage_at_3: float | None = None
    coverage_at_5: float | None = None
    seeds: int = 0
    cuts: str = ""
    note: str = ""
    paper_params: str = ""
    paper_epoch_s: float | None = None
    paper_roc_auc: float | None = None
    paper_coverage_at_1: float | None = None
    paper_coverage_at_3: float | None = None
    paper_coverage_at_5: float | None = None


def _cell(field: str, how: str = "") -> Callable[[Row], str]:
    """Return a function that formats one field of a row; None becomes an empty cell."""
    return lambda row: "" if (value := getattr(row, field)) is None else format(value, how)


def _cell_of_params(row: Row) -> str:
    if row.params is None:
        return ""
    return f"{row.params:,}" if row.params < EXACT_BELOW else f"{row.params / 1e6:.2f}M"


def _cell_of_auc(row: Row) -> str:
    spread = "" if row.roc_auc_sd is None else f" ± {row.roc_auc_sd:.3f}"
    return _cell("roc_auc_mean", ".3f")(row) + spread


COLUMNS = [
    ("row", _cell("row")),
    ("target", _cell("target")),
    ("params", _cell_of_params),
    ("paper", _cell("paper_params")),
    ("s/epoch", _cell("epoch_s", ".3g")),
    ("K40", _cell("paper_epoch_s", ",.0f")),
    ("seeds", lambda row: str(row.seeds or "")),
    ("AUC", _cell_of_auc),
    ("paper", _cell("paper_roc_auc", ".3f")),
]
for k in KS:
    COLUMNS += [(f"C@{k}", _cell(f"coverage_at_{k}", ".2f")), ("paper", _cell(f"paper_coverage_at_{k}", ".2f"))]


class Table2(Table):
    """Table 2 of Oramas et al. 2017: networks of one modality, and fusions."""

    name, title, source, axis = "table2", "Table 2", "Oramas et al. 2017", "ROC-AUC"
    chance = 0.5
    about = "networks of audio, text and covers, and their fusions, of Oramas et al. 2017"
    caption = "Table 2, test albums: ours, each beside the paper's; K40 is its seconds an epoch (2017, Tesla K40)"
    # No published weights fit a ResNet of 14 layers: random ones, on few covers, need a larger learning rate, more
    # patience and milder views.
    presets: ClassVar[Mapping[str, Mapping[str, Mapping[str, Any]]]] = {
        "paper": {},
        "smoke": {
            "audio_low": {"model.width_divisor": 2, "optim.max_epochs": 20},
            "audio_high": {"model.width_divisor": 8, "optim.max_epochs": 20},
            "image": {
                "model.depth": 14,
                "augment.size_px": 96,
                "augment.min_area": 0.5,
                "augment.colour": 0.1,
                "optim.learning_rate": 0.05,
                "optim.batch_size": 20,
                "optim.max_epochs": 40,
                "optim.patience": 12,
            },
        },
    }
    columns, n_names = COLUMNS, 2

    def jobs(self, data_dir: Path) -> dict[str, Job]:
        """Return the experiments of the table in its order, and those of NOT_IN_PAPER."""
        no_entities = _missing_entities(data_dir)
        sources = SOURCES | ({"text": TEXT_WITHOUT_ENTITIES} if no_entities else {})
        jobs = {}
        for row in table_rows():
            config = load_config(row)
            joins = {name: sources[name] for name in config.fusion.names} if config.modality == "fusion" else {}
            jobs[row] = training_job(row, joins=joins, impossible=no_entities if config.tfidf.categories else "")
        return jobs

    def measure(self, plan: Plan, workdir: Path) -> list[Row]:
        """Return the rows of the plan, and others that the folder has runs of, with all seeds that are there."""
        failures = read_failures(workdir)
        rows = (_measure_row(name, plan, workdir, reasons(failures, name)) for name in table_rows())
        return [row for row in rows if row is not None]

    def job_of(self, row: Row) -> str:
        """Return the row's experiment."""
        return f"{row.row}_{row.target}"

    def points(self, rows: Sequence[Row]) -> list[Point]:
        """Return the ROC-AUC of each row."""
        return [Point(self.job_of(row), row.roc_auc_mean, row.roc_auc_sd, row.paper_roc_auc) for row in rows]

    def remarks(self, rows: Sequence[Row]) -> list[str]:
        """Return lines that say what the numbers show, what was made smaller, and why a row has no result."""
        rows_by_cuts: dict[str, list[str]] = {}
        for row in rows:
            if row.cuts:
                rows_by_cuts.setdefault(row.cuts, []).append(row.row)
        made_smaller = [f"{', '.join(dict.fromkeys(names))}: {cuts}" for cuts, names in rows_by_cuts.items()]
        return [*finding(rows), *made_smaller, *(f"{row.row} {row.target}: {row.note}" for row in rows if row.note)]

    def flat(self, row: Row) -> dict[str, Any]:
        """Return the row's fields."""
        return dataclasses.asdict(row)

    def from_flat(self, lines: Sequence[Mapping[str, str]]) -> list[Row]:
        """Return the rows of a file's lines."""
        return msgspec.convert(lines, list[Row], strict=False)  # the cells are text


TABLE2 = Table2()


def table_rows() -> list[str]:
    """Return the experiments of Table 2 in its order, and those of NOT_IN_PAPER."""
    experiments = load_experiments()
    rows = [
        name
        for name, experiment in experiments.items()
        if name.endswith(f"_{experiment.config.target.kind}")  # not the short name of the same experiment
        and (experiment.paper or name in NOT_IN_PAPER)
    ]
    return sorted(rows, key=lambda row: ORDER.index(experiments[row].config.modality))


def _measure_row(name: str, plan: Plan, workdir: Path, failed: list[str]) -> Row | None:
    """Return the row if it was planned or tried."""
    results, impossible = read_results(workdir, name), plan.impossible.get(name)
    if not (results or failed or name in plan.rows):
        return None
    notes = [NOT_IN_PAPER.get(name), *([impossible] if impossible else failed)]
    values: dict[str, Any] = {"note": "; ".join(filter(None, notes))}
    if results:
        aucs = [result.album["roc_auc_macro"] for result in results]
        cuts = (describe_changes(TABLE2, plan.preset, name), _first_weights(name, results))
        values |= {
            "params": results[0].params,
            "epoch_s": average(statistics.median, [result.epoch_s for result in results]),
            "roc_auc_mean": average(statistics.fmean, aucs),
            "roc_auc_sd": deviation(aucs),
            "seeds": len(results),
            "cuts": ", ".join(filter(None, cuts)),
        }
        for key in (f"coverage_at_{k}" for k in KS):
            values[key] = statistics.fmean(result.album[key] for result in results)
    if paper := load_experiments()[name].paper:
        values |= {"paper_params": paper.params, "paper_epoch_s": paper.epoch_s, "paper_roc_auc": paper.roc_auc}
        values |= {f"paper_coverage_at_{k}": value for k, value in zip(KS, paper.coverage, strict=True)}
    row, _, target = name.rpartition("_")
    return Row(row, target, **values)


def _first_weights(name: str, results: Sequence[Result]) -> str:
    """Say if image networks did not start, as the paper's did, from ImageNet's weights."""
    return "from random weights" if name.startswith("image") and not all(one.weights for one in results) else ""


def _missing_entities(data_dir: Path) -> str:
    if not (data_dir / "text" / DESCRIPTION).exists() or read_description(data_dir / "text").splits["train"]["linked"]:
        return ""
    return "no training text has a linked entity: prepare with --gazetteer or --entities_dir"


def finding(rows: Sequence[Row]) -> list[str]:
    """Compare the best of one modality with the best fusion; nothing if one of them is missing."""
    measured = [(row.roc_auc_mean, f"{row.row} {row.target}") for row in rows if row.roc_auc_mean is not None]
    fusions = [row for row in measured if row[1].startswith("fusion_")]
    singles = [row for row in measured if row not in fusions]
    if not (fusions and singles):
        return []
    first = itemgetter(0)  # of equals, the first row
    single, fusion = (f"{name} ({auc:.3f})" for auc, name in (max(singles, key=first), max(fusions, key=first)))
    least, _ = min(measured)
    rest = f"the lowest of all {least:.3f}, chance {Table2.chance}"
    return [f"AUC: best of one modality {single}, best fusion {fusion}, {rest}"]
