"""A process of `benchmarks.device`: it reads cases, measures each, and writes its rows, all as lines of JSON.

A case that fails is answered with the reason.  One that hangs or crashes takes this process with it, and no other.
"""

import json
import os
import sys
from argparse import Namespace
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax

from benchmarks import kernel_times, metrics, resident_epoch, results, train_step
from benchmarks.columns import Row
from benchmarks.flops import fastest_product
from benchmarks.made_up_batches import Problem
from benchmarks.other_formulations import Shape, alternatives, formulated
from mumu_jax.errors import reason_of
from mumu_jax.objectives import metrics as ours

METRICS = {"roc_auc_macro": ours.roc_auc, "pr_auc_macro": ours.average_precision}
IS_CPU = jax.default_backend() == "cpu"
# On a CPU everything is to run, and nothing to be measured.
SECONDS, REPEATS = (0.05, 1) if IS_CPU else (0.4, 3)  # of a measurement
PEAK_SECONDS = SECONDS / 4
REHEARSED = {"width_divisor": 8, "depth": 14}


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever libraries print is no answer

    def answer(values: Any) -> None:
        print(json.dumps(values, allow_nan=False), file=answers, flush=True)

    answer({"device": results.device(), "rehearsal": IS_CPU})
    for line in sys.stdin:
        case = json.loads(line)
        try:
            answer(MEASURES[case.pop("measure")](**case))
        except Exception as error:  # of any kind: the other cases still count
            answer({"failed": reason_of(error)})


def _problem(config: str, precision: str) -> Problem:
    problem = train_step.make_problem(config, precision)
    if not IS_CPU:
        return problem
    for name, value in REHEARSED.items():
        setattr(problem.config.model, name, value)
    return Problem(problem.config)


@lru_cache
def _peak(precision: str) -> train_step.Rate:
    return fastest_product(precision, PEAK_SECONDS)


def _step(problem: Problem, config: str, precision: str, batch_size: int, ways: tuple[Any, ...] = ()) -> Row:
    arguments = Namespace(seconds=SECONDS, repeats=REPEATS, peer=bool(ways))
    row = train_step.measure_problem(problem, batch_size, 1, _peak(precision), arguments, ways)
    return {"config": config, "precision": precision, "batch_size": batch_size, "mode": "synthetic", **row}


def _row(benchmark: str, row: Row) -> Row:
    mode = f"rehearsal: {row['mode']}" if IS_CPU else row["mode"]  # no row of the network that it names
    common = {"n_devices": 1, "device": results.device(), "repeats": REPEATS}
    return {"rows": [results.make_row(benchmark, {**common, **row, "mode": mode})]}


def measure_step(config: str, precision: str, batch_size: int) -> Row:
    return _row(
        "text_step" if config.startswith("text") else "train_step",
        _step(_problem(config, precision), config, precision, batch_size),
    )


def measure_peer(config: str, precision: str, batch_size: int, ways: list[list[str]]) -> Row:
    """Measure a step beside PyTorch's in the best of a few ways; its program was compiled before."""
    from benchmarks.torch_peer import Way

    row = _step(_problem(config, precision), config, precision, batch_size, tuple(Way(*way) for way in ways))
    return _row("train_step", {**row, "compile_s": None})


def measure_epoch(config: str, precision: str, batch_size: int, n_items: int) -> Row:
    row = resident_epoch.measure(_problem(config, precision), batch_size, n_items, REPEATS)
    return _row("resident_epoch", {"config": config, "precision": precision, "batch_size": batch_size, **row})


def list_formulations(config: str, precision: str, batch_size: int) -> Row:
    """Answer with the cases of all other formulations of the network's convolutions."""
    case = {"measure": "formulation", "config": config, "precision": precision, "batch_size": batch_size}
    pairs = alternatives(_problem(config, precision))[: 2 if IS_CPU else None]
    return {"cases": [{**case, "shape": shape, "formulation": name} for shape, name in pairs]}


def measure_formulation(config: str, precision: str, batch_size: int, shape: list[int], formulation: str) -> Row:
    kernel: Shape = tuple(shape)
    problem = _problem(config, precision)
    problem.network = formulated(problem.network, kernel, formulation)
    row = _step(problem, config, precision, batch_size)
    return _row("other_formulations", {**row, "mode": f"{'×'.join(map(str, kernel))} {formulation}"})


def measure_metric(config: str) -> Row:
    row = {"precision": "float32", "batch_size": metrics.N_ITEMS, "mode": f"{metrics.N_LABELS} labels"}
    return _row("metrics", {"config": config, **row, **metrics.measure(config, METRICS[config], REPEATS, SECONDS)})


def measure_kernels(config: str, precision: str, batch_size: int) -> Row:
    row = kernel_times.measure(_problem(config, precision), batch_size, _peak(precision), SECONDS)
    return _row("kernel_times", {"config": config, "precision": precision, "batch_size": batch_size, **row})


MEASURES: dict[str, Callable[..., Row]] = {
    "step": measure_step,
    "peer": measure_peer,
    "epoch": measure_epoch,
    "formulations": list_formulations,
    "formulation": measure_formulation,
    "metric": measure_metric,
    "kernels": measure_kernels,
}

if __name__ == "__main__":
    main()
