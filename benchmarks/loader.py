"""`python -m benchmarks.loader`: read patches as fast as the loader can, from shards and from the device.

A network that trains faster must wait for its loader.  The shards are made up, and stay in the system's file cache
after the first reading; `--data_dir` names real ones.
"""

import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from statistics import median

import jax

from benchmarks import timing
from benchmarks.benchmark import Benchmark
from benchmarks.columns import Row
from benchmarks.made_up import add_data, prepared_data
from benchmarks.options import numbers
from mumu_jax.batch import Batch
from mumu_jax.compute import devices
from mumu_jax.config import Config
from mumu_jax.data.loader import Schedule
from mumu_jax.data.modalities.inputs import Inputs
from mumu_jax.data.store.records import Prepared, open_prepared
from mumu_jax.system.terminal import positive, run_command
from mumu_jax.training.feed import Feed

CONFIG = Config()  # the paper's batch and the chunk of a run
FOREVER = 1_000_000  # chunks


def main(argv: Sequence[str]) -> int:
    """Measure streaming of fixed and random patches with each number of threads, and the resident split."""
    benchmark = Benchmark("loader", __doc__, repeats=5, seconds=2.0)
    add_data(benchmark.parser)
    benchmark.option("--read_threads", type=numbers, default="1,2,4", help="comma-separated; default %(default)s")
    benchmark.option("--batch_size", type=positive, default=CONFIG.optim.batch_size)
    arguments = benchmark.start(argv, n_devices=jax.device_count())
    cases = [("streaming", patch, n) for patch in ("fixed", "random") for n in arguments.read_threads]
    cases.append(("resident", "fixed", max(arguments.read_threads)))
    with prepared_data(arguments) as data_dir:
        prepared = open_prepared(data_dir, CONFIG.audio, verify=False)
        for mode, patch, n_threads in cases:
            threads = f", {n_threads} threads" * (mode == "streaming")
            case = {"config": f"{patch} patches{threads}", "mode": mode, "batch_size": arguments.batch_size}
            benchmark.measure(case, measure, prepared, mode, patch, n_threads, arguments)
    return benchmark.status


def measure(prepared: Prepared, mode: str, patch: str, n_threads: int, arguments: Namespace) -> Row:
    """Return a row's values.  Chunks are taken as fast as they come, so nothing is read ahead of the clock."""
    items = Inputs.unfitted(CONFIG).items(prepared.split("train"), len(prepared.labels), patch)
    start = time.perf_counter()
    feed = Feed(items, mode, n_threads, devices.make_mesh())
    opened_s = time.perf_counter() - start
    schedule = Schedule(len(items), arguments.batch_size, CONFIG.loop.chunk_steps, seed=0)
    chunks = feed.chunks(schedule, range(FOREVER))
    drain(chunks, arguments.seconds)  # the first reading fills the file cache, and the threads must start
    rates = [drain(chunks, arguments.seconds) for _ in range(arguments.repeats)]
    return {
        **timing.figures(rates),
        "read_threads": n_threads,
        "bytes_per_s": median(rates) * items.n_bytes / len(items),
        "n_items": len(items),
        "load_s": opened_s if mode == "resident" else None,
    }


def drain(chunks: Iterator[Batch], seconds: float) -> float:
    """Return the items a second that arrive within so many seconds."""
    n_items, start = 0, time.perf_counter()
    while (passed := time.perf_counter() - start) < seconds:
        chunk = jax.block_until_ready(next(chunks))
        n_items += int(chunk.mask.sum())
    return n_items / passed


if __name__ == "__main__":
    run_command(main)
