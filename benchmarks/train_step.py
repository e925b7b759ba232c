"""`python -m benchmarks.train_step`: train on items that are already on the device, beside PyTorch.

This is a step without any loading: the ceiling of `benchmarks.end_to_end`.  All layers of image networks train, also
those of the album-cover study's.  Our step makes its views of the covers, as training does; PyTorch's is given ready
ones, so that the ratio is a lower bound.  Needs jax, flax, optax and numpy, and torch for `--peer=torch`.
"""

import argparse
import os
import time
from collections.abc import Sequence
from itertools import product
from statistics import median
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from benchmarks import flops, options, timing
from benchmarks.columns import Row
from benchmarks.output import Output
from benchmarks.peak import Peak
from mumu_jax.batch import Batch
from mumu_jax.compute import devices
from mumu_jax.compute.network import Network, item_network
from mumu_jax.compute.optim import make_optimizer
from mumu_jax.compute.state import create_state
from mumu_jax.config import Config
from mumu_jax.experiments import load_config
from mumu_jax.objectives import objective
from mumu_jax.objectives.objective import Constants
from mumu_jax.system.terminal import run_command

EPOCHS = {"audio": 117_836, "text": 25_177, "image": 25_177}  # training patches and albums of MuMu
N_LABELS, LABELS_PER_ITEM = 250, 5.97
N_GENRES = 18  # of the album-cover study, an album has one
MOST_STEPS = 32  # of a chunk, as in training


def main(argv: Sequence[str]) -> int:
    """Measure every combination that the command line asks for; 1 if one of them failed."""
    prepare_jax()  # before its first use
    arguments = parse(argv)
    output = Output("train_step", not arguments.no_save, mode="synthetic", repeats=arguments.repeats)
    peaks = {precision: Peak(precision, min(0.3, arguments.seconds)) for precision in arguments.precision}
    for name, precision in product(arguments.config, arguments.precision):
        for batch_size, n_devices in combinations(arguments, name):
            label = f"{name}, {precision}, batch {batch_size}, {n_devices} devices"
            output.measure(label, measure, name, precision, batch_size, n_devices, peaks[precision], arguments)
    return output.status


def prepare_jax() -> None:
    """Leave memory of the device to PyTorch, and compile again, because the seconds that it takes are measured."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    jax.config.update("jax_enable_compilation_cache", False)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = options.make_parser("benchmarks.train_step", __doc__)
    options.add_config(parser, options.SIX + options.IMAGES, "audio", "image")
    options.add_precision(parser)
    parser.add_argument("--batch_size", type=options.numbers, help="default: 32,256, of audio 1024; on a CPU 32 or 8")
    parser.add_argument("--devices", type=options.numbers, default=[1], help="1,2,4,8: strong and weak scaling")
    options.add_peer(parser)
    options.add_repeats(parser, repeats=7, seconds=2.0 if jax.default_backend() == "cpu" else 1.0)
    arguments = parser.parse_args(argv)
    options.check_devices(arguments.devices)
    options.check_peer(arguments.peer)
    return arguments


def combinations(arguments: argparse.Namespace, name: str) -> list[tuple[int, int]]:
    """Return (global batch size, devices): each batch shared by the devices (strong), or as large on each (weak)."""
    sizes = arguments.batch_size or default_batch_sizes(name)
    pairs = {(size * scale, n) for size in sizes for n in arguments.devices for scale in (1, n)}
    return sorted((size, n) for size, n in pairs if size % n == 0)


def default_batch_sizes(name: str) -> list[int]:
    """Return the paper's, and larger ones on an accelerator; on a CPU, 8 saves minutes with the large networks."""
    if jax.default_backend() != "cpu":
        return [32, 256] if name not in options.experiments("audio") else [32, 256, 1024]
    return [8 if name.startswith("audio_high_3x3") or name not in options.experiments("audio") else 32]


def measure(
    name: str, precision: str, batch_size: int, n_devices: int, peak: Peak, arguments: argparse.Namespace
) -> Row:
    """Return one row: ours, the matmul peak and the peer take turns."""
    config = load_config(name)
    config.model.precision, config.model.trainable = precision, ""
    constants = synthetic_constants(config)
    flops_an_item = flops.train_flops(config, objective.n_outputs(config.target.kind, constants))
    n_steps = steps_within(arguments.seconds, flops_an_item * batch_size / n_devices, peak)
    chunk = synthetic_chunk(config, n_steps, batch_size)
    trainer = Trainer(config, chunk, constants, n_devices)
    sides = {"peak": peak.rate, "ours": timing.timed(trainer.run, n_steps * batch_size, arguments.seconds)}
    about_peer: Row = {}
    if arguments.peer and n_devices == 1:
        from benchmarks.torch_peer import PEERS

        peer = PEERS[config.modality](config, constants, chunk, precision, arguments.seconds)
        sides["peer"], about_peer = peer.side(batch_size, arguments.seconds), peer.columns()
    rates = timing.take_turns(sides, arguments.repeats)
    return {
        "config": name,
        "precision": precision,
        "batch_size": batch_size,
        "n_devices": n_devices,
        **timing.figures(rates["ours"], rates.get("peer")),
        **work_columns(rates["ours"], EPOCHS[config.modality], flops_an_item, max(rates["peak"]), n_devices),
        "peak_bytes": trainer.peak_bytes,
        "compile_s": trainer.compile_s,
        **about_peer,
    }


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


def steps_within(seconds: float, flops_a_step: float, peak: Peak) -> int:
    """Return the steps of a chunk that takes so many seconds at half of the peak; no more than training has in one."""
    # At least two: the compiler removes a loop of one step, and training runs loops.
    return int(np.clip(seconds * 0.5 * peak.rate() / flops_a_step, 2, MOST_STEPS))


def synthetic_chunk(config: Config, n_steps: int, batch_size: int, n_labels: int | None = None) -> Batch:
    """Return noise in the shape of training data: patches with about six labels each, covers with one genre."""
    rng = np.random.default_rng(0)
    shape, n_labels = (n_steps, batch_size), n_labels or n_labels_of(config)
    if config.target.kind == "softmax":
        labels = rng.integers(n_labels, size=shape)[..., None] == np.arange(n_labels)
    else:
        labels = rng.random((*shape, n_labels)) < LABELS_PER_ITEM / n_labels
    return Batch(_noise(config, shape, rng), labels.astype(np.uint8), np.ones(shape, np.float32))


def _noise(config: Config, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    if config.modality == "image":
        return rng.integers(0, 256, (*shape, config.image.side_px, config.image.side_px, 3), np.uint8)
    patches = rng.uniform(config.audio.floor_db, 0, (*shape, config.audio.patch_frames, config.audio.n_bins))
    return patches.astype(np.float16)


def n_labels_of(config: Config) -> int:
    return N_GENRES if config.target.kind == "softmax" else N_LABELS


def synthetic_constants(config: Config, n_labels: int | None = None) -> Constants:
    """Return what the step needs beside the data: the noise's mean and deviation, and label factors."""
    n_factors = config.target.n_factors if config.target.kind == "cosine" else 0
    factors = np.random.default_rng(0).normal(size=(n_labels or n_labels_of(config), n_factors)).astype(np.float32)
    if config.modality == "image":
        return Constants(np.full(3, 0.5, np.float32), np.full(3, 0.29, np.float32), factors)
    shape = (config.audio.patch_frames, config.audio.n_bins)
    return Constants(np.full(shape, -40, np.float32), np.full(shape, 23, np.float32), factors)


def item_of(chunk: Batch) -> Any:
    """Return the shape and dtype of one item's input."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[2:], leaf.dtype), chunk.inputs)


def build_network(config: Config, constants: Constants) -> Network:
    return item_network(config, objective.n_outputs(config.target.kind, constants))


class Trainer:
    """A compiled training chunk of `mumu_jax`, with state and data on the devices."""

    def __init__(self, config: Config, chunk: Batch, constants: Constants, n_devices: int = 1):
        mesh = Mesh(np.array(jax.devices()[:n_devices]), (devices.AXIS,))
        network = build_network(config, constants)
        tx = make_optimizer(config.optim)
        state = create_state(network, tx, item_of(chunk), config.seed)
        self._state, self._constants = devices.put_replicated((state, constants), mesh)
        self._chunk = devices.put_chunk(chunk, mesh)
        start = time.perf_counter()
        arguments = (self._state, self._chunk, self._constants)
        self._compiled: Any = devices.compile_train_chunk("jit", mesh, network, tx, arguments)
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
