"""Table 2 of Oramas et al. 2017: each row as its runs came out, beside what is printed there.

WORKDIR/<experiment>/seed<k>/   the runs
WORKDIR/reproduce.json          what they are made with, and of which data
WORKDIR/times.jsonl             a line for each try of a run: how long it took, and why it failed, if it did
WORKDIR/table2.csv, table2.md   the table
"""

import csv
import dataclasses
import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from mumu_jax.errors import UserError
from mumu_jax.experiments import load_experiments
from mumu_jax.objectives.metrics import KS
from mumu_jax.reports import presets
from mumu_jax.reports.plan import Plan, table_rows
from mumu_jax.system.files import replacing
from mumu_jax.training.log import PERF, read_lines

TABLE, MARKDOWN = "table2.csv", "table2.md"
SETTINGS, TIMES = "reproduce.json", "times.jsonl"


@dataclass(frozen=True)
class Row:
    """One row: an experiment is `row`_`target`.  None stands for what was not measured, or is not in the paper.

    The metrics are of the albums of the test split, means over `seeds` runs; `epoch_s` is the median, training and
    validation.  `cuts` says what the preset made smaller, `note` why there is no result.
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
    """Of one finished run: its test albums' metrics, and parameters, seconds an epoch and first weights of the network
    of the items (None: random ones).
    """

    album: dict[str, Any]
    params: int | None
    epoch_s: float | None
    weights: dict[str, str] | None


def run_folder(workdir: Path, experiment: str, seed: int) -> Path:
    """Where a run of the table lies."""
    return workdir / experiment / f"seed{seed}"


def read_result(folder: Path) -> Result | None:
    """What a run came out as; None where it is not finished, or was last scored on other data than its own."""
    path = folder / "eval_test.json"
    if not path.exists():
        return None
    found, about = (json.loads(file.read_text(encoding="utf-8")) for file in (path, folder / "config.json"))
    if found["data"]["checksum"] != about["data"]["checksum"]:
        return None
    timings = read_lines(folder / PERF)
    phase = "track" if any(line["phase"] == "track" for line in timings) else "album"
    epochs = [line["perf/epoch_s"] for line in timings if line["phase"] == phase and "perf/epoch_s" in line]
    epoch_s = statistics.median(epochs) if epochs else None
    return Result(found["album"], about.get("params"), epoch_s, about.get("weights"))


def read_failures(workdir: Path) -> dict[tuple[str, int], str]:
    """Why the last try of a run failed, by (experiment, seed), of those whose last try did."""
    last = {(line["row"], line["seed"]): line["failed"] for line in read_lines(workdir / TIMES)}
    return {run: why for run, why in last.items() if why}


def measure(plan: Plan, workdir: Path) -> list[Row]:
    """The rows of the plan, and others that the folder has runs of, whatever their number of seeds."""
    failures = read_failures(workdir)
    return [row for name in table_rows() for row in _measure_row(name, plan, workdir, failures)]


def _measure_row(name: str, plan: Plan, workdir: Path, failures: Mapping[tuple[str, int], str]) -> Iterator[Row]:
    found = [read_result(folder) for folder in sorted((workdir / name).glob("seed*"))]
    results = [result for result in found if result is not None]
    notes = [f"seed {seed} failed: {why}" for (failed, seed), why in failures.items() if failed == name]
    if not (results or notes or name in plan.rows):
        return
    experiment = load_experiments()[name]
    row, _, target = name.rpartition("_")
    values: dict[str, Any] = {"note": plan.impossible.get(name, "; ".join(notes))}
    if results:
        aucs = [auc for result in results if (auc := result.album["roc_auc_macro"]) is not None]
        epochs = [result.epoch_s for result in results if result.epoch_s is not None]
        values |= {
            "params": results[0].params,
            "epoch_s": statistics.median(epochs) if epochs else None,
            "roc_auc_mean": statistics.fmean(aucs) if aucs else None,
            "roc_auc_sd": statistics.stdev(aucs) if len(aucs) > 1 else None,
            "seeds": len(results),
            "cuts": ", ".join(filter(None, (presets.describe(plan.preset, experiment.config), _start(name, results)))),
        }
        for k in KS:
            values[f"coverage_at_{k}"] = statistics.fmean(result.album[f"coverage_at_{k}"] for result in results)
    if paper := experiment.paper:
        values |= {"paper_params": paper.params, "paper_epoch_s": paper.epoch_s, "paper_roc_auc": paper.roc_auc}
        values |= {f"paper_coverage_at_{k}": value for k, value in zip(KS, paper.coverage, strict=True)}
    yield Row(row, target, **values)


def _start(name: str, results: Sequence[Result]) -> str:
    """Without ImageNet's weights a network of covers is not the paper's."""
    return "from random weights" if name.startswith("image") and not all(one.weights for one in results) else ""


# --- as files -----------------------------------------------------------------------------------------------


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """A CSV with a line a row; an empty cell is None."""
    with replacing(path) as part, part.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in dataclasses.fields(Row)])
        writer.writeheader()
        writer.writerows(dataclasses.asdict(row) for row in rows)


def read_table(path: Path) -> list[Row]:
    """What `write_table` wrote.  Raises UserError on anything else."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [_row(line) for line in csv.DictReader(file)]
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is not a table of mumu_jax.reproduce ({error!r}); make it anew with that") from error


def _row(line: dict[str, Any]) -> Row:
    hints = get_type_hints(Row)
    return Row(**{name: _value(text, hints[name]) for name, text in line.items() if name in hints})


def _value(text: str, hint: Any) -> Any:
    if hint is str:
        return text
    if text == "":
        return None
    return int(text) if hint in (int, int | None) else float(text)
