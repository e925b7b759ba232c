"""`python -m benchmarks.train_step`: train on items that are already on the device, beside PyTorch.

This is a step without any loading: the ceiling of `benchmarks.end_to_end`.  All layers of image networks train, also
those of the album-cover study's.  Our step makes its views of the covers and takes the logarithm of mel spectrograms,
as training does; PyTorch's is given ready ones, so that the ratio is a lower bound.  It needs as few packages
as `benchmarks.device`.
"""

import argparse
import importlib
import os
import time
from collections.abc import Callable, Sequence
from itertools import product
from statistics import median
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax.sharding import Mesh

from benchmarks import options, timing
from benchmarks.benchmark import Benchmark
from benchmarks.columns import Row
from benchmarks.flops import fastest_product, train_flops
from benchmarks.made_up_batches import Problem, densified, item_of
from mumu_jax.batch import Batch
from mumu_jax.compute import devices
from mumu_jax.compute.optim import make_optimizer
from mumu_jax.compute.state import create_state
from mumu_jax.errors import UserError
from mumu_jax.experiments import load_config
from mumu_jax.system.terminal import run_command

if TYPE_CHECKING:
    from benchmarks.torch_peer import Way

# Training patches and albums of MuMu, and songs of Ru et al.'s selection of Music4All.
EPOCHS = {"audio": 117_836, "mel": 117_836, "text": 25_177, "image": 25_177, "lyrics": 30_555, "mel+lyrics": 30_555}
# The papers', and larger ones.
BATCH_SIZES = {"audio": [32, 256, 1024], "mel": [32, 256], "text": [32], "image": [32, 256], "mel+lyrics": [16, 256]}
MOST_STEPS = 32  # of a chunk, as in training

Rate = Callable[[], float]


def main(argv: Sequence[str]) -> int:
    """Measure every combination that the command line asks for; 1 if one of them failed."""
    default = options.SIX + options.TAGGING + options.IMAGES + options.JOINT
    return run("train_step", __doc__, argv, default, "audio", "mel", "image", "mel+lyrics")


def run(name: str, doc: str | None, argv: Sequence[str], default: list[str], *modalities: str) -> int:
    """Measure experiments of these modalities, those in `default` if the command line names none."""
    share_the_device()
    benchmark = Benchmark(name, doc, repeats=7, seconds=2.0 if jax.default_backend() == "cpu" else 1.0)
    options.add_cases(benchmark.parser, default, *modalities)
    benchmark.option("--devices", type=options.devices, default="1", help="1,2,4,8: strong and weak scaling")
    benchmark.option("--peer", type=installed, choices=["torch"], help="measure PyTorch's network beside ours")
    arguments = benchmark.start(argv, mode="synthetic")
    peaks = {precision: fastest_product(precision, min(0.3, arguments.seconds)) for precision in arguments.precision}
    for config, precision in product(arguments.config, arguments.precision):
        batch_sizes = arguments.batch_size or default_batch_sizes(config)
        for batch_size, n_devices in combinations(batch_sizes, arguments.devices):
            case = {"config": config, "precision": precision, "batch_size": batch_size, "n_devices": n_devices}
            benchmark.measure(case, measure, **case, peak=peaks[precision], arguments=arguments)
    return benchmark.status


def share_the_device() -> None:
    """Leave memory of the device to PyTorch, and compile again, because the seconds that it takes are measured."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    jax.config.update("jax_enable_compilation_cache", False)


def installed(peer: str) -> str:
    """Return the name of a peer; raises UserError if it is PyTorch and that is not installed."""
    if peer == "torch":
        try:
            importlib.import_module("torch")
        except ImportError as error:
            raise UserError("--peer=torch needs PyTorch, which is not installed; pip install torch") from error
    return peer


def combinations(batch_sizes: Sequence[int], devices: Sequence[int]) -> list[tuple[int, int]]:
    """Return (global batch size, devices): each batch shared by the devices (strong), or as large on each (weak)."""
    pairs = {(size * scale, n) for size in batch_sizes for n in devices for scale in (1, n)}
    return sorted((size, n) for size, n in pairs if size % n == 0)


def default_batch_sizes(name: str) -> list[int]:
    """Return the sizes for an accelerator; on a CPU 32, or 8, which saves minutes with the large networks."""
    modality = load_config(name).modality
    if jax.default_backend() != "cpu":
        return BATCH_SIZES[modality]
    return [8 if name.startswith("audio_high_3x3") or modality in ("mel", "image", "mel+lyrics") else 32]


def measure(
    config: str, precision: str, batch_size: int, n_devices: int, peak: Rate, arguments: argparse.Namespace
) -> Row:
    """Return a row's measurements: ours, the matmul peak, the dense step of a text network and the peer take turns."""
    return measure_problem(make_problem(config, precision), batch_size, n_devices, peak, arguments)


def measure_problem(
    problem: Problem,
    batch_size: int,
    n_devices: int,
    peak: Rate,
    arguments: argparse.Namespace,
    ways: Sequence["Way"] = (),
) -> Row:
    """Measure a problem's training step; the peer is tried in `ways` alone, if there are any."""
    flops_an_item, modality = train_flops(problem), problem.config.modality
    n_steps = steps_within(arguments.seconds, flops_an_item * batch_size / n_devices, peak)
    chunk = problem.chunk(n_steps, batch_size)
    dense_chunk = densified(chunk)
    trainer = Trainer(problem, chunk, n_devices)

    def side(trainer: "Trainer") -> Rate:
        return timing.timed(trainer.run, n_steps * batch_size, arguments.seconds)

    sides = {"peak": peak, "ours": side(trainer)}
    if modality == "text":
        sides["dense"] = side(Trainer(problem, dense_chunk, n_devices))
    row: Row = {}
    if arguments.peer and n_devices == 1:
        from benchmarks.torch_peer import PEERS

        peer = PEERS[modality](problem, dense_chunk, arguments.seconds, ways)
        sides["peer"], row = peer.side(batch_size, arguments.seconds), peer.columns()
    rates = timing.take_turns(sides, arguments.repeats)
    if "dense" in rates:
        row |= timing.columns("dense_examples_per_s", rates["dense"])
        row |= timing.columns("dense_ratio", timing.ratios(rates["ours"], rates["dense"]))
    return {
        **timing.figures(rates["ours"], rates.get("peer")),
        **work_columns(rates["ours"], EPOCHS[modality], flops_an_item, max(rates["peak"]), n_devices),
        "peak_bytes": trainer.peak_bytes,
        "compile_s": trainer.compile_s,
        **row,
    }


def make_problem(name: str, precision: str, n_labels: int | None = None) -> Problem:
    """Return the named experiment's problem, in which all layers train, and training has one stage."""
    config = load_config(name)
    config.model.precision, config.model.trainable, config.optim.later = precision, "", ""
    return Problem(config, n_labels)


def work_columns(
    rates: Sequence[float], n_examples: int, flops_an_item: int, peak_flops_per_s: float, n_devices: int
) -> Row:
    """Return the columns of the work that rates amount to: seconds an epoch, FLOP/s, and their share of the peak."""
    examples_per_s = median(rates)
    flops_per_s = examples_per_s * flops_an_item
    return {
        "epoch_s": n_examples / examples_per_s,
        "flops_per_s": flops_per_s,
        "peak_flops_per_s": peak_flops_per_s,
        "mfu": flops_per_s / peak_flops_per_s / n_devices,
    }


def steps_within(seconds: float, flops_a_step: float, peak: Rate) -> int:
    """Return the steps of a chunk that takes so many seconds at half of the peak; no more than training has in one."""
    # At least two: the compiler removes a loop of one step, and training runs loops.
    return int(np.clip(seconds * 0.5 * peak() / flops_a_step, 2, MOST_STEPS))


class Trainer:
    """A compiled training chunk of `mumu_jax`, with state and data on the devices."""

    def __init__(self, problem: Problem, chunk: Batch, n_devices: int = 1):
        mesh = Mesh(np.array(jax.devices()[:n_devices]), (devices.AXIS,))
        tx = make_optimizer(problem.config.optim, problem.network.trainable)
        state = jax.jit(lambda: create_state(problem.network, tx, item_of(chunk), problem.config.seed))()
        self._state, self._constants = devices.put_replicated((state, problem.constants), mesh)
        self._chunk = devices.put_chunk(chunk, mesh)
        start = time.perf_counter()
        arguments = (self._state, self._chunk, self._constants)
        self._compiled: Any = devices.compile_train_chunk("jit", mesh, problem.network, tx, arguments)
        self.compile_s = time.perf_counter() - start  # tracing included
        self.run()

    @property
    def peak_bytes(self) -> int:
        """Memory of a device as the compiler plans it: state, constants, the chunk of items and all temporaries."""
        memory = self._compiled.memory_analysis()
        held = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
        return held + memory.temp_size_in_bytes

    def run(self) -> None:
        """Train a chunk, to the end."""
        self._state, losses = self._compiled(self._state, self._chunk, self._constants)
        losses.block_until_ready()


if __name__ == "__main__":
    run_command(main)
