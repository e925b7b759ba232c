"""`python -m benchmarks.resident_epoch`: train epochs of patches that are made up on the device and held there.

Chunks are gathered and dispatched as in training, in the same order, by the same programs; nothing is validated or
written.  It needs as few packages as `benchmarks.device`.
"""

import time
from collections.abc import Sequence
from itertools import product
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from benchmarks import options, timing
from benchmarks.benchmark import Benchmark
from benchmarks.columns import Row
from benchmarks.made_up_batches import LABELS_PER_ITEM, Problem, item_of
from benchmarks.train_step import EPOCHS, make_problem, share_the_device
from mumu_jax.compute import devices
from mumu_jax.compute.optim import make_optimizer
from mumu_jax.compute.state import TrainState, create_state
from mumu_jax.data.loader import Items, Schedule
from mumu_jax.system.terminal import positive, run_command
from mumu_jax.training.resident import Resident, Share, deal

BLOCK = 1_024  # patches made up at a time, so that float32 noise of all of them never fills the memory


def main(argv: Sequence[str]) -> int:
    """Measure every combination that the command line asks for; 1 if one of them failed."""
    share_the_device()
    benchmark = Benchmark("resident_epoch", __doc__, repeats=3)
    options.add_cases(benchmark.parser, ["audio_high_4x70"], "audio")
    benchmark.option("--items", type=positive, default=EPOCHS["audio"], help="patches; default MuMu's, %(default)s")
    benchmark.parser.set_defaults(batch_size="32,256")
    arguments = benchmark.start(argv, n_devices=1)
    for name, precision, batch_size in product(arguments.config, arguments.precision, arguments.batch_size):
        case = {"config": name, "precision": precision, "batch_size": batch_size}
        problem = make_problem(name, precision)
        benchmark.measure(case, measure, problem, batch_size, arguments.items, arguments.repeats)
    return benchmark.status


def measure(problem: Problem, batch_size: int, n_items: int, repeats: int) -> Row:
    """Return a row's measurements of epochs, after one that is not measured."""
    config, mesh = problem.config, Mesh(np.array(jax.devices()[:1]), (devices.AXIS,))
    schedule = Schedule(n_items, batch_size, config.loop.chunk_steps, config.seed)
    tx = make_optimizer(config.optim, problem.network.trainable, schedule.epoch_steps)
    item = item_of(problem.chunk(1, 1))
    state = jax.jit(lambda: create_state(problem.network, tx, item, config.seed))()
    state, constants = devices.put_replicated((state, problem.constants), mesh)
    programs = {}
    for number in (0, schedule.epoch_chunks - 1):  # the last one may be shorter
        shape = schedule.rows(number).shape
        abstract = devices.abstract_chunk(shape, item, problem.n_labels, mesh)
        arguments = (state, abstract, constants)
        programs[shape[0]] = devices.compile_train_chunk("jit", mesh, problem.network, tx, arguments)
    share = devices.put_replicated(_make_up(problem, n_items), mesh)
    items = Items(_read_nothing, n_items, item, problem.n_labels)
    resident = Resident(items, mesh, deal(n_items, mesh.size), share, {})
    seconds = []
    for number in range(repeats + 1):
        start = time.perf_counter()
        state = _train_epoch(state, constants, programs, resident, schedule, number)
        seconds.append(time.perf_counter() - start)
    rates = [n_items / epoch_s for epoch_s in seconds[1:]]
    return {**timing.figures(rates), "epoch_s": median(seconds[1:]), "n_items": n_items, "mode": "resident"}


def _train_epoch(
    state: TrainState, constants: Any, programs: dict[int, Any], resident: Resident, schedule: Schedule, epoch: int
) -> TrainState:
    """Train an epoch to its end.  As in training, the host is a chunk ahead of the device, and no more."""
    first = epoch * schedule.epoch_chunks
    numbers = range(first, first + schedule.epoch_chunks)
    chunks = (resident.chunk(schedule.rows(number), schedule.uniforms(number)) for number in numbers)
    chunk, before = next(chunks), None
    while chunk is not None:
        state, losses = programs[len(chunk.mask)](state, chunk, constants)
        chunk = next(chunks, None)
        if before is not None:
            before.block_until_ready()
        before = losses
    return jax.block_until_ready(state)


def _read_nothing(*_: Any) -> None:
    """Stand in for reading items, which are on the device."""


def _make_up(problem: Problem, n_items: int) -> Share:
    """Return patches of noise, [items, frames, bins] float16, and multi-hot labels, made on the device."""
    audio = problem.config.audio
    shape, floor_db = (audio.patch_frames, audio.n_bins), audio.floor_db

    def patch(key: jax.Array) -> jax.Array:
        return jax.random.uniform(key, shape, jnp.float16, floor_db, 0)

    @jax.jit
    def noise(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        keys = jax.random.split(key, n_items)
        share = min(LABELS_PER_ITEM / problem.n_labels, 0.5)
        labels = jax.random.bernoulli(key, share, (n_items, problem.n_labels)).astype(jnp.uint8)
        return jax.lax.map(patch, keys, batch_size=BLOCK), labels

    patches, labels = noise(jax.random.key(0))
    return Share({"audio": patches}, labels)


if __name__ == "__main__":
    run_command(main)
