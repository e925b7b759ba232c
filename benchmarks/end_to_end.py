"""`python -m benchmarks.end_to_end`: train from shards, as `mumu_jax.train` does, beside the steps without loading.

This ceiling is `benchmarks.train_step` with chunks of the same size; both take turns.  `input_wait_fraction` is read
from training's own perf.jsonl.  Validation, checkpoints and compilation are in neither.
"""

import argparse
import io
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import replace
from itertools import product
from pathlib import Path

import jax
import numpy as np

from benchmarks import options, timing
from benchmarks.benchmark import Benchmark
from benchmarks.columns import Row
from benchmarks.flops import fastest_product, train_flops
from benchmarks.made_up import add_data, prepared_data
from benchmarks.made_up_batches import Problem
from benchmarks.train_step import EPOCHS, Trainer, default_batch_sizes, make_problem, steps_within, work_columns
from mumu_jax.compute import devices
from mumu_jax.data.loader import Items
from mumu_jax.data.modalities.inputs import Inputs
from mumu_jax.data.store.records import open_prepared
from mumu_jax.experiments import load_config
from mumu_jax.system.signals import StopRequest
from mumu_jax.system.terminal import run_command
from mumu_jax.training.feed import Feed, open_feeds
from mumu_jax.training.log import MetricsLog, read_lines
from mumu_jax.training.loop import Run, Task, fit

CHUNKS = 8  # of an epoch, after the first, which is not counted


def main(argv: Sequence[str]) -> int:
    """Measure every experiment in every mode that the command line asks for; 1 if one of them failed."""
    benchmark = Benchmark("end_to_end", __doc__, repeats=3, seconds=8.0)
    options.add_cases(benchmark.parser, options.SIX, "audio")
    modes = options.names(["auto", "resident", "streaming"])
    benchmark.option("--mode", type=modes, default="auto", help="of the data")
    add_data(benchmark.parser)
    arguments = benchmark.start(argv, n_devices=jax.device_count(), peer="synthetic")
    options.check_devices([1])
    with tempfile.TemporaryDirectory(prefix="mumu_jax_compiled_") as compiled:
        # Every turn compiles again, which is not to be measured.
        jax.config.update("jax_compilation_cache_dir", compiled)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        with prepared_data(arguments) as data_dir:
            for name in arguments.config:
                batch_sizes = arguments.batch_size or default_batch_sizes(name)
                for precision, batch_size, mode in product(arguments.precision, batch_sizes, arguments.mode):
                    case = {"config": name, "precision": precision, "batch_size": batch_size, "mode": mode}
                    benchmark.measure(case, measure, **case, data_dir=data_dir, arguments=arguments)
    return benchmark.status


def measure(
    config: str, precision: str, batch_size: int, mode: str, data_dir: Path, arguments: argparse.Namespace
) -> Row:
    """Return a row's measurements: an epoch of training and as many synthetic steps take turns."""
    items = read_splits(data_dir, config)
    problem, n_devices = make_problem(config, precision, items["train"].n_labels), jax.device_count()
    flops_an_item, peak = train_flops(problem), fastest_product(precision)
    n_steps = steps_within(arguments.seconds / CHUNKS, flops_an_item * batch_size / n_devices, peak)
    settings = problem.config
    settings.data.mode, settings.loop.chunk_steps = mode, n_steps
    settings.optim.batch_size, settings.optim.max_epochs = batch_size, 1

    trainer = Trainer(problem, problem.chunk(n_steps, batch_size), n_devices)
    items["train"] = as_many(items["train"], (CHUNKS + 1) * n_steps * batch_size)
    with redirect_stderr(io.StringIO()):
        feeds = open_feeds(items, settings.data, devices.make_mesh())
    waits: list[float] = []
    sides = {
        "ceiling": lambda: timing.rate(trainer.run, n_steps * batch_size, CHUNKS),
        "training": lambda: train(problem, feeds, waits),
    }
    train(problem, feeds, [])  # warm: compiled programs, file cache
    rates = timing.take_turns(sides, arguments.repeats)
    highest = max(peak() for _ in range(3))
    return {
        "mode": feeds["train"].mode,
        **timing.figures(rates["training"], rates["ceiling"]),
        **work_columns(rates["training"], EPOCHS["audio"], flops_an_item, highest, n_devices),
        "input_wait_fraction": float(np.mean(waits)),
        "n_items": len(items["train"]),
    }


def read_splits(data_dir: Path, config: str) -> dict[str, Items]:
    """Return the items of the training and validation splits."""
    inputs = Inputs.unfitted(load_config(config))
    prepared = open_prepared(data_dir, inputs.config.audio, verify=False)
    return {split: inputs.items(prepared.split(split), len(prepared.labels)) for split in ("train", "val")}


def as_many(items: Items, n: int) -> Items:
    """Return `n` items, the same ones repeated, so that an epoch of any network lasts as long as the measurement."""

    def read(rows: np.ndarray, *rest: np.ndarray) -> None:
        items.read(rows % len(items), *rest)

    return replace(items, read=read, n_items=n)


def train(problem: Problem, feeds: dict[str, Feed], waits: list[float]) -> float:
    """Return examples a second of a fresh run's chunks after the first; add their share of waiting to `waits`."""
    config, seen = problem.config, np.ones(problem.n_labels, bool)
    task = Task("track", problem.network, problem.constants, feeds["train"], feeds["val"], config.optim)
    with tempfile.TemporaryDirectory(prefix="mumu_jax_run_") as folder, MetricsLog(Path(folder)) as log:
        with redirect_stderr(io.StringIO()):
            fit(task, Run(config, Path(folder), devices.make_mesh(), log, StopRequest(), seen))
        chunks = [line for line in read_lines(Path(folder) / "perf.jsonl") if "perf/examples_per_s" in line][1:]
    waits.append(float(np.mean([line["perf/input_wait_fraction"] for line in chunks])))
    # Chunks have the same number of items, so the mean is of their times.
    return 1 / float(np.mean([1 / line["perf/examples_per_s"] for line in chunks]))


if __name__ == "__main__":
    run_command(main)
