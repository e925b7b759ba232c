"""`python -m benchmarks.loader`: patches a second that the loader can give, from shards and from the device.

A network that trains faster than its loader gives is starved by it.  The shards are made up, and lie in the system's
file cache after the first reading; `--data_dir` names real ones.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax

from benchmarks import results, timing
from benchmarks.made_up import prepared_data
from benchmarks.options import add_common, numbers
from benchmarks.output import LOADING, Output
from mumu_jax.batch import Batch
from mumu_jax.compute import devices
from mumu_jax.config import Config
from mumu_jax.data.loader import Items, Schedule, patch_items
from mumu_jax.data.store.records import Prepared, open_prepared
from mumu_jax.system.terminal import positive, run_command
from mumu_jax.training.feed import Feed

BENCHMARK = "loader"
CONFIG = Config()  # the paper's batch and the chunk of a run
FOREVER = 1_000_000  # chunks


def main(argv: Sequence[str]) -> int:
    """Measure streaming of fixed and random patches with each number of threads, and the resident split."""
    arguments = parse(argv)
    out = Output(BENCHMARK, not arguments.no_save, LOADING)
    with prepared_data(arguments.data_dir, {"train": arguments.tracks, "val": 32}) as data_dir:
        prepared = open_prepared(data_dir, CONFIG.audio, verify=False)
        for patch in ("fixed", "random"):
            for n_threads in arguments.read_threads:
                try:
                    out.add(measure(_items(prepared, patch), "streaming", patch, n_threads, arguments))
                except Exception as error:
                    out.fail(f"streaming, {patch}, {n_threads} threads", error)
        try:
            out.add(measure(_items(prepared, "fixed"), "resident", "fixed", max(arguments.read_threads), arguments))
        except Exception as error:  # such as a split larger than the device
            out.fail("resident", error)
    return out.status


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loader", description=__doc__)
    parser.add_argument("--data_dir", type=Path, help="what mumu_jax.prepare wrote; by default it is made up")
    parser.add_argument("--tracks", type=positive, default=2048, help="of the made-up split, 124 KB each; default 2048")
    parser.add_argument("--read_threads", type=numbers, default=[1, 2, 4], help="comma-separated; default 1,2,4")
    parser.add_argument("--batch_size", type=positive, default=CONFIG.optim.batch_size)
    add_common(parser, repeats=5, seconds=2.0)
    return parser.parse_args(argv)


def measure(items: Items, mode: str, patch: str, n_threads: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """One row.  Chunks are taken as fast as they come, so nothing is read ahead of the clock."""
    start = time.perf_counter()
    feed = Feed(items, mode, n_threads, devices.make_mesh())
    opened_s = time.perf_counter() - start
    schedule = Schedule(len(items), arguments.batch_size, CONFIG.loop.chunk_steps, seed=0)
    chunks = feed.chunks(schedule, range(FOREVER))
    drain(chunks, arguments.seconds)  # the first reading fills the file cache, and the threads must start
    rates = [drain(chunks, arguments.seconds) for _ in range(arguments.repeats)]
    per_second = timing.columns("examples_per_s", rates)
    item_bytes = items.n_bytes / len(items)
    return {
        **{
            "config": f"{patch} patches" + f", {n_threads} threads" * (mode == "streaming"),
            "batch_size": arguments.batch_size,
            "mode": mode,
        },
        **{"n_devices": jax.device_count(), "device": results.device(), "repeats": arguments.repeats},
        **per_second,
        **{"read_threads": n_threads, "bytes_per_s": per_second["examples_per_s"] * item_bytes},
        **{"n_items": len(items), "load_s": opened_s if mode == "resident" else None},
    }


def drain(chunks: Iterator[Batch], seconds: float) -> float:
    """Items a second that come while so much time passes."""
    n_items, start = 0, time.perf_counter()
    while (passed := time.perf_counter() - start) < seconds:
        chunk = jax.block_until_ready(next(chunks))
        n_items += int(chunk.mask.sum())
    return n_items / passed


def _items(prepared: Prepared, patch: str) -> Items:
    return patch_items(prepared.split("train"), len(prepared.labels), CONFIG.audio, patch)


if __name__ == "__main__":
    run_command(main)
