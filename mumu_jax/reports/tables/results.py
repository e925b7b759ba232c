"""The folder in which a table is measured: its files, its runs, and what came of them.

WORKDIR/<job>/seed<k>/       the runs
WORKDIR/logs/                what the runs printed
WORKDIR/reproduce.json       the options and the data that they were made with
WORKDIR/times.jsonl          a line for each try of a run: its seconds, and why it failed, if it did
WORKDIR/<table>.csv, .md     the table
"""

import json
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mumu_jax.training.log import PERF, read_lines

SETTINGS, TIMES = "reproduce.json", "times.jsonl"
SCORED = "eval_test.json"


@dataclass(frozen=True)
class Result:
    """A finished run's evaluation on the test split, and its item network's size, speed and first weights.

    `weights` is None if the network started from random ones.
    """

    evaluation: dict[str, Any]
    params: int | None
    epoch_s: float | None
    weights: dict[str, str] | None

    @property
    def album(self) -> dict[str, Any]:
        """The metrics of albums."""
        return self.evaluation["album"]


def run_folder(workdir: Path, job: str, seed: int) -> Path:
    """Return the folder of one run of the table."""
    return workdir / job / f"seed{seed}"


def read_result(folder: Path) -> Result | None:
    """Return a run's result; None if it is not finished, or was last scored on data other than its own."""
    if not (folder / SCORED).exists():
        return None
    result = json.loads((folder / SCORED).read_text(encoding="utf-8"))
    config = folder / "config.json"  # of a network
    about = json.loads(config.read_text(encoding="utf-8")) if config.exists() else {}
    own = {about["data"]["checksum"]} if about else _checksums(folder.parents[1])
    if own and result["data"]["checksum"] not in own:
        return None
    timings = read_lines(folder / PERF)
    phase = "track" if any(line["phase"] == "track" for line in timings) else "album"
    epochs = [line["perf/epoch_s"] for line in timings if line["phase"] == phase and "perf/epoch_s" in line]
    return Result(result, about.get("params"), average(statistics.median, epochs), about.get("weights"))


def _checksums(workdir: Path) -> set[str]:
    """Return the checksums of the data that the table is measured on; none before the first call has kept them."""
    path = workdir / SETTINGS
    return {*json.loads(path.read_text(encoding="utf-8"))["data"].values()} if path.exists() else set()


def read_results(workdir: Path, job: str) -> list[Result]:
    """Return the results of a job's finished runs."""
    return [result for run in sorted((workdir / job).glob("seed*")) if (result := read_result(run))]


def read_failures(workdir: Path) -> dict[tuple[str, int], str]:
    """Return why the last try of a run failed, by (job, seed), for the runs whose last try did."""
    last = {(line["row"], line["seed"]): line["failed"] for line in read_lines(workdir / TIMES)}
    return {run: why for run, why in last.items() if why}


def reasons(failures: Mapping[tuple[str, int], str], job: str) -> list[str]:
    """Return why a job has not the results of all seeds; `failures` are those of `read_failures`."""
    return [f"seed {seed} failed: {why}" for (row, seed), why in failures.items() if row == job]


def average(function: Callable[[Sequence[float]], float], values: Iterable[float | None]) -> float | None:
    """Return a function of the values that are not None; None if all are."""
    known = [value for value in values if value is not None]
    return function(known) if known else None


def deviation(values: Iterable[float | None]) -> float | None:
    """Return the standard deviation of the values that are not None; None of fewer than two."""
    known = [value for value in values if value is not None]
    return statistics.stdev(known) if len(known) > 1 else None
