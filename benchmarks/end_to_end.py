"""`python -m benchmarks.end_to_end`: training as `mumu_jax.train` does it, from shards, beside its synthetic ceiling.

The ceiling is `benchmarks.train_step` with chunks of the same size; both take turns.  `input_wait_fraction` is what
training itself wrote to perf.jsonl.  Validation, checkpoints and compilation are in neither.
"""

import argparse
import io
import json
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks import flops, results, timing
from benchmarks.made_up import prepared_data
from benchmarks.options import SIX, add_common, add_precision, check_devices, experiments, names, numbers
from benchmarks.output import Output
from benchmarks.peak import Peak
from benchmarks.train_step import (
    EPOCHS,
    Trainer,
    build_network,
    default_batch_sizes,
    steps_within,
    synthetic_chunk,
    synthetic_constants,
)
from mumu_jax.compute import devices
from mumu_jax.config import Config
from mumu_jax.data.loader import Items, patch_items
from mumu_jax.data.store.records import open_prepared
from mumu_jax.experiments import load_config
from mumu_jax.objectives import objective
from mumu_jax.objectives.objective import Constants
from mumu_jax.system.signals import StopRequest
from mumu_jax.system.terminal import positive, run_command
from mumu_jax.training.feed import Feed, open_feeds
from mumu_jax.training.log import MetricsLog
from mumu_jax.training.loop import Run, Task, fit

BENCHMARK = "end_to_end"
N_VAL = 32
CHUNKS = 8  # of an epoch, after the first, which is not counted


def main(argv: Sequence[str]) -> int:
    """Measure every experiment in every mode that the command line asks for; 1 if one of them failed."""
    arguments = parse(argv)
    out = Output(BENCHMARK, save=not arguments.no_save)
    with tempfile.TemporaryDirectory(prefix="mumu_jax_compiled_") as compiled:
        # Every turn compiles anew, and that is not what is measured.
        jax.config.update("jax_compilation_cache_dir", compiled)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        with prepared_data(arguments.data_dir, {"train": arguments.tracks, "val": N_VAL}) as data_dir:
            for name in arguments.config:
                batch_sizes = arguments.batch_size or default_batch_sizes(name)
                for precision, batch_size, mode in product(arguments.precision, batch_sizes, arguments.mode):
                    try:
                        out.add(measure(name, precision, batch_size, mode, data_dir, arguments))
                    except Exception as error:
                        out.fail(f"{name}, {precision}, batch {batch_size}, {mode}", error)
    return out.status


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.end_to_end", description=__doc__)
    parser.add_argument("--config", type=names(experiments("audio")), default=SIX, help="the six CNNs by default")
    add_precision(parser)
    parser.add_argument("--batch_size", type=numbers, help="32,256,1024 by default; on a CPU 32, for HIGH-3x3 8")
    parser.add_argument("--mode", type=names(["auto", "resident", "streaming"]), default=["auto"], help="of the data")
    parser.add_argument("--data_dir", type=Path, help="what mumu_jax.prepare wrote; by default it is made up")
    parser.add_argument("--tracks", type=positive, default=2048, help="of the made-up split; default 2048, 0.25 GB")
    add_common(parser, repeats=3, seconds=8.0)
    arguments = parser.parse_args(argv)
    check_devices([1])
    return arguments


def measure(
    name: str, precision: str, batch_size: int, mode: str, data_dir: Path, arguments: argparse.Namespace
) -> dict[str, Any]:
    """One row: an epoch of training and as many synthetic steps take turns."""
    config = load_config(name)
    config.model.precision, config.data.mode = precision, mode
    config.optim.batch_size, config.optim.max_epochs = batch_size, 1
    items = _splits(data_dir, config)
    constants = synthetic_constants(config, items["train"].n_labels)
    flops_an_item, peak = flops.train_flops(config, objective.n_outputs(config.target.kind, constants)), Peak(precision)
    n_steps = steps_within(arguments.seconds / CHUNKS, flops_an_item * batch_size / jax.device_count(), peak)
    config.loop.chunk_steps = n_steps

    chunk = synthetic_chunk(config, n_steps, batch_size, items["train"].n_labels)
    trainer = Trainer(config, chunk, constants, jax.device_count())
    items["train"] = as_many(items["train"], (CHUNKS + 1) * n_steps * batch_size)
    with redirect_stderr(io.StringIO()):
        feeds = open_feeds(items, config.data, devices.make_mesh())
    waits: list[float] = []
    sides = {
        "ceiling": lambda: timing.rate(trainer.run, n_steps * batch_size, CHUNKS),
        "training": lambda: train(config, feeds, constants, waits),
    }
    train(config, feeds, constants, [])  # warm: compiled programs, file cache
    rates = timing.take_turns(sides, arguments.repeats)
    examples_per_s, highest = timing.spread(rates["training"]).median, max(peak.rate() for _ in range(3))
    return {
        **{"config": name, "precision": precision, "batch_size": batch_size, "mode": feeds["train"].mode},
        **{"n_devices": jax.device_count(), "device": results.device(), "repeats": arguments.repeats},
        **timing.columns("examples_per_s", rates["training"]),
        **{"epoch_s": EPOCHS["audio"] / examples_per_s, "flops_per_s": examples_per_s * flops_an_item},
        **{"peak_flops_per_s": highest, "mfu": examples_per_s * flops_an_item / highest / jax.device_count()},
        **{"input_wait_fraction": float(np.mean(waits)), "n_items": len(items["train"])},
        **{"peer": "synthetic", "peer_examples_per_s": timing.spread(rates["ceiling"]).median},
        **timing.columns("ratio", timing.ratios(rates["training"], rates["ceiling"])),
    }


def as_many(items: Items, n: int) -> Items:
    """`n` items, the same again and again: an epoch as long as one is measured, and ended, whatever the network."""

    def read(rows: np.ndarray, *rest: np.ndarray) -> None:
        items.read(rows % len(items), *rest)

    return replace(items, read=read, n_items=n)


def train(config: Config, feeds: dict[str, Feed], constants: Constants, waits: list[float]) -> float:
    """Examples a second of a fresh run's chunks after the first; adds the share of their time spent waiting."""
    seen = np.ones(feeds["train"].items.n_labels, bool)
    task = Task("track", build_network(config, constants), constants, feeds["train"], feeds["val"], config.optim)
    with tempfile.TemporaryDirectory(prefix="mumu_jax_run_") as folder, MetricsLog(Path(folder)) as log:
        with redirect_stderr(io.StringIO()):
            fit(task, Run(config, Path(folder), devices.make_mesh(), log, StopRequest(), seen))
        lines = [json.loads(line) for line in (Path(folder) / "perf.jsonl").read_text().splitlines()]
    chunks = [line for line in lines if "perf/examples_per_s" in line][1:]
    waits.append(float(np.mean([line["perf/input_wait_fraction"] for line in chunks])))
    # Chunks have the same number of items, so the mean is of their times.
    return 1 / float(np.mean([1 / line["perf/examples_per_s"] for line in chunks]))


def _splits(data_dir: Path, config: Config) -> dict[str, Items]:
    prepared = open_prepared(data_dir, config.audio, verify=False)
    return {
        split: patch_items(prepared.split(split), len(prepared.labels), config.audio, config.data.patch)
        for split in ("train", "val")
    }


if __name__ == "__main__":
    run_command(main)
