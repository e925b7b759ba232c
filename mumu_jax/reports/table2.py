"""Table 2 of Oramas et al. 2017: each row as measured beside the row as printed, in files and as text.

WORKDIR/<experiment>/seed<k>/   the runs
WORKDIR/logs/                   what the runs printed
WORKDIR/reproduce.json          the options and the data that they were made with
WORKDIR/times.jsonl             a line for each try of a run: its seconds, and why it failed, if it did
WORKDIR/table2.csv, table2.md   the table
"""

import csv
import dataclasses
import json
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

import msgspec

from mumu_jax.errors import UserError
from mumu_jax.experiments import load_experiments
from mumu_jax.objectives.metrics import KS
from mumu_jax.reports.plan import NOT_IN_PAPER, Plan, describe_changes, table_rows
from mumu_jax.system.files import replacing
from mumu_jax.system.lines import print_line
from mumu_jax.system.terminal import print_table
from mumu_jax.training.log import PERF, read_lines

TABLE, MARKDOWN = "table2.csv", "table2.md"
SETTINGS, TIMES = "reproduce.json", "times.jsonl"
TITLE = "Table 2, test albums: ours, each beside the paper's; K40 is its seconds an epoch (2017, Tesla K40)"
EXACT_BELOW = 100_000  # parameters; larger numbers in millions
CHANCE = 0.5  # the ROC-AUC of random scores


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


@dataclass(frozen=True)
class Result:
    """A finished run's result: the metrics of its test albums, and its item network's size, speed and first weights.

    `weights` is None if the network started from random ones.
    """

    album: dict[str, Any]
    params: int | None
    epoch_s: float | None
    weights: dict[str, str] | None


def run_folder(workdir: Path, experiment: str, seed: int) -> Path:
    """Return the folder of one run of the table."""
    return workdir / experiment / f"seed{seed}"


def read_result(folder: Path) -> Result | None:
    """Return a run's result; None if it is not finished, or was last scored on data other than its own."""
    scored = folder / "eval_test.json"
    if not scored.exists():
        return None
    result, about = (json.loads(path.read_text(encoding="utf-8")) for path in (scored, folder / "config.json"))
    if result["data"]["checksum"] != about["data"]["checksum"]:
        return None
    timings = read_lines(folder / PERF)
    phase = "track" if any(line["phase"] == "track" for line in timings) else "album"
    epochs = [line["perf/epoch_s"] for line in timings if line["phase"] == phase and "perf/epoch_s" in line]
    return Result(result["album"], about.get("params"), _or_none(statistics.median, epochs), about.get("weights"))


def read_failures(workdir: Path) -> dict[tuple[str, int], str]:
    """Return why the last try of a run failed, by (experiment, seed), for the runs whose last try did."""
    last = {(line["row"], line["seed"]): line["failed"] for line in read_lines(workdir / TIMES)}
    return {run: why for run, why in last.items() if why}


def measure(plan: Plan, workdir: Path) -> list[Row]:
    """Return the rows of the plan, and others that the folder has runs of, with all seeds that are there."""
    failures = read_failures(workdir)
    return [row for name in table_rows() for row in _measure_row(name, plan, workdir, failures)]


def _measure_row(name: str, plan: Plan, workdir: Path, failures: Mapping[tuple[str, int], str]) -> Iterator[Row]:
    """Yield the row if it was planned or tried."""
    results = [result for run in sorted((workdir / name).glob("seed*")) if (result := read_result(run))]
    failed = [f"seed {seed} failed: {why}" for (row, seed), why in failures.items() if row == name]
    if not (results or failed or name in plan.rows):
        return
    impossible = plan.impossible.get(name)
    notes = [NOT_IN_PAPER.get(name), *([impossible] if impossible else failed)]
    values: dict[str, Any] = {"note": "; ".join(filter(None, notes))}
    if results:
        aucs = [auc for result in results if (auc := result.album["roc_auc_macro"]) is not None]
        epochs = [result.epoch_s for result in results if result.epoch_s is not None]
        values |= {
            "params": results[0].params,
            "epoch_s": _or_none(statistics.median, epochs),
            "roc_auc_mean": _or_none(statistics.fmean, aucs),
            "roc_auc_sd": statistics.stdev(aucs) if len(aucs) > 1 else None,
            "seeds": len(results),
            "cuts": ", ".join(filter(None, (describe_changes(plan.preset, name), _first_weights(name, results)))),
        }
        values |= {
            key: statistics.fmean(result.album[key] for result in results) for key in (f"coverage_at_{k}" for k in KS)
        }
    if paper := load_experiments()[name].paper:
        values |= {"paper_params": paper.params, "paper_epoch_s": paper.epoch_s, "paper_roc_auc": paper.roc_auc}
        values |= {f"paper_coverage_at_{k}": value for k, value in zip(KS, paper.coverage, strict=True)}
    row, _, target = name.rpartition("_")
    yield Row(row, target, **values)


def _first_weights(name: str, results: Sequence[Result]) -> str:
    """Say if image networks did not start, as the paper's did, from ImageNet's weights."""
    return "from random weights" if name.startswith("image") and not all(one.weights for one in results) else ""


def _or_none(average: Any, values: Sequence[float]) -> float | None:
    return average(values) if values else None


# --- as files -----------------------------------------------------------------------------------------------


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """Write a CSV with a line a row; an empty cell is None."""
    with replacing(path) as part, part.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in dataclasses.fields(Row)])
        writer.writeheader()
        writer.writerows(dataclasses.asdict(row) for row in rows)


def read_table(path: Path) -> list[Row]:
    """Read what `write_table` wrote.  Raises UserError on anything else."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = [{name: text for name, text in line.items() if text} for line in csv.DictReader(file)]
        return msgspec.convert(lines, list[Row], strict=False)  # the cells are text
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path} is not a table of mumu_jax.reproduce ({error!r}); make it again with that") from error


# --- as text ------------------------------------------------------------------------------------------------


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
N_NAMES = 2  # columns of words, before those of numbers


def cells(row: Row) -> list[str]:
    """Return one line of the table, a text for each of COLUMNS."""
    return [cell(row) for _, cell in COLUMNS]


def print_rows(rows: Sequence[Row]) -> None:
    """Print the table on the terminal, and the remarks below it."""
    print_table(TITLE, [title for title, _ in COLUMNS], map(cells, rows), width=150, n_names=N_NAMES)
    for line in remarks(rows):
        print_line(line)


def as_markdown(rows: Sequence[Row]) -> str:
    """Return the same title, table and remarks as Markdown."""
    titles = [title for title, _ in COLUMNS]
    rules = ["---" if i < N_NAMES else "---:" for i in range(len(COLUMNS))]
    table = "".join(f"| {' | '.join(line)} |\n" for line in (titles, rules, *map(cells, rows)))
    return f"{TITLE}\n\n{table}\n" + "".join(f"* {line}\n" for line in remarks(rows))


def remarks(rows: Sequence[Row]) -> list[str]:
    """Return lines that say what the numbers show, what was made smaller, and why a row has no result."""
    rows_by_cuts: dict[str, list[str]] = {}
    for row in rows:
        if row.cuts:
            rows_by_cuts.setdefault(row.cuts, []).append(row.row)
    made_smaller = [f"{', '.join(dict.fromkeys(names))}: {cuts}" for cuts, names in rows_by_cuts.items()]
    return [*finding(rows), *made_smaller, *(f"{row.row} {row.target}: {row.note}" for row in rows if row.note)]


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
    return [f"AUC: best of one modality {single}, best fusion {fusion}, the lowest of all {least:.3f}, chance {CHANCE}"]
