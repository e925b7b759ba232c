"""`python -m benchmarks.train_step`: training steps on items that already lie on the device, beside PyTorch's.

What the step costs without any loading: the ceiling of `benchmarks.end_to_end`.  Of image networks all layers train,
in the album-cover study's, too.  Our step makes its views of the covers, as training does; PyTorch's is given ready
ones, so that the ratio is a lower bound.  Needs jax, flax, optax and numpy, and torch for `--peer=torch`.
"""

import argparse
import os
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from benchmarks import flops, results, timing
from benchmarks.options import (
    IMAGES,
    SIX,
    add_common,
    add_precision,
    check_devices,
    check_peer,
    experiments,
    names,
    numbers,
)
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

BENCHMARK = "train_step"
EPOCHS = {"audio": 117_836, "text": 25_177, "image": 25_177}  # training patches and albums of MuMu
N_LABELS, LABELS_PER_ITEM = 250, 5.97
N_GENRES = 18  # of the album-cover study, an album has one
MOST_STEPS = 32  # of a chunk, as in training


def main(argv: Sequence[str]) -> int:
    """Measure every combination that the command line asks for; 1 if one of them failed."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch needs memory on the same device
    arguments = parse(argv)
    jax.config.update("jax_enable_compilation_cache", False)  # compile seconds are part of the result
    out = Output(BENCHMARK, save=not arguments.no_save)
    peaks = {precision: Peak(precision, min(0.3, arguments.seconds)) for precision in arguments.precision}
    for name in arguments.config:
        for precision in arguments.precision:
            for batch_size, n_devices in combinations(arguments, name):
                try:
                    out.add(measure(name, precision, batch_size, n_devices, peaks[precision], arguments))
                except Exception as error:  # such as a batch too large for the device: the others count still
                    out.fail(f"{name}, {precision}, batch {batch_size}, {n_devices} devices", error)
    return out.status


def parse(argv: Sequence[str]) -> argparse.Namespace:
    on_cpu = jax.default_backend() == "cpu"
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train_step", description=__doc__)
    known = experiments("audio", "image")
    parser.add_argument(
        "--config", type=names(known), default=[*SIX, *IMAGES], help=f"default {','.join(SIX + IMAGES)}"
    )
    add_precision(parser)
    parser.add_argument("--batch_size", type=numbers, help="default: 32,256, of audio 1024; on a CPU 32 or 8")
    parser.add_argument("--devices", type=numbers, default=[1], help="1,2,4,8: strong and weak scaling")
    parser.add_argument("--peer", choices=["torch"], help="measure PyTorch's network beside ours")
    add_common(parser, repeats=7, seconds=2.0 if on_cpu else 1.0)
    arguments = parser.parse_args(argv)
    check_devices(arguments.devices)
    check_peer(arguments.peer)
    return arguments


def combinations(arguments: argparse.Namespace, name: str) -> list[tuple[int, int]]:
    """(global batch size, devices): each batch divided over more devices (strong), and as large on each (weak)."""
    sizes = arguments.batch_size or default_batch_sizes(name)
    found = {(size * scale, n) for size in sizes for n in arguments.devices for scale in (1, n)}
    return sorted((size, n) for size, n in found if size % n == 0)


def default_batch_sizes(name: str) -> list[int]:
    """The paper's, and larger ones on an accelerator; on a CPU an 8 spares the large networks' repeats minutes."""
    if jax.default_backend() != "cpu":
        return [32, 256] if name not in experiments("audio") else [32, 256, 1024]
    return [8 if name.startswith("audio_high_3x3") or name not in experiments("audio") else 32]


def measure(
    name: str, precision: str, batch_size: int, n_devices: int, peak: Peak, arguments: argparse.Namespace
) -> dict[str, Any]:
    """One row: ours, the matmul peak and the peer take turns."""
    config = load_config(name)
    config.model.precision, config.model.trainable = precision, ""
    constants = synthetic_constants(config)
    flops_an_item = flops.train_flops(config, objective.n_outputs(config.target.kind, constants))
    n_steps = steps_within(arguments.seconds, flops_an_item * batch_size / n_devices, peak)
    chunk = synthetic_chunk(config, n_steps, batch_size)
    trainer = Trainer(config, chunk, constants, n_devices)
    calls = timing.calls_within(arguments.seconds, trainer.run)
    sides = {"peak": peak.rate, "ours": lambda: timing.rate(trainer.run, n_steps * batch_size, calls)}
    about_peer: dict[str, Any] = {}
    if arguments.peer and n_devices == 1:
        from benchmarks.torch_peer import PEERS

        peer = PEERS[config.modality](config, constants, chunk, precision, arguments.seconds)
        peer_steps = timing.calls_within(arguments.seconds, lambda: peer.run(1))
        sides["peer"] = lambda: timing.rate(lambda: peer.run(peer_steps), peer_steps * batch_size, 1)
        about_peer = {"peer": "torch", "peer_way": str(peer.way), "peer_tried": peer.tried}

    rates = timing.take_turns(sides, arguments.repeats)
    if "peer" in rates:
        about_peer["peer_examples_per_s"] = timing.spread(rates["peer"]).median
        about_peer |= timing.columns("ratio", timing.ratios(rates["ours"], rates["peer"]))
    examples_per_s, highest = timing.spread(rates["ours"]).median, max(rates["peak"])
    return {
        **{"config": name, "precision": precision, "batch_size": batch_size, "mode": "synthetic"},
        **{"n_devices": n_devices, "device": results.device(), "repeats": arguments.repeats},
        **timing.columns("examples_per_s", rates["ours"]),
        **{"epoch_s": EPOCHS[config.modality] / examples_per_s, "flops_per_s": examples_per_s * flops_an_item},
        **{"peak_flops_per_s": highest, "mfu": examples_per_s * flops_an_item / highest / n_devices},
        **{"peak_bytes": trainer.peak_bytes, "compile_s": trainer.compile_s},
        **about_peer,
    }


def steps_within(seconds: float, flops_a_step: float, peak: Peak) -> int:
    """Steps of a chunk that takes about as long, at half of the peak; no more than training has in one."""
    # At least two: what runs once is no loop to the compiler, and loops are what training is made of.
    return int(np.clip(seconds * 0.5 * peak.rate() / flops_a_step, 2, MOST_STEPS))


def synthetic_chunk(config: Config, n_steps: int, batch_size: int, n_labels: int | None = None) -> Batch:
    """Noise in the shape of what is trained on: patches with about six labels each, covers with one genre."""
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
    """What the step needs beside the data: the noise's mean and deviation, and label factors."""
    n_factors = config.target.n_factors if config.target.kind == "cosine" else 0
    factors = np.random.default_rng(0).normal(size=(n_labels or n_labels_of(config), n_factors)).astype(np.float32)
    if config.modality == "image":
        return Constants(np.full(3, 0.5, np.float32), np.full(3, 0.29, np.float32), factors)
    shape = (config.audio.patch_frames, config.audio.n_bins)
    return Constants(np.full(shape, -40, np.float32), np.full(shape, 23, np.float32), factors)


def item_of(chunk: Batch) -> Any:
    """The shape and dtype of one item's input."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[2:], leaf.dtype), chunk.inputs)


def build_network(config: Config, constants: Constants) -> Network:
    return item_network(config, objective.n_outputs(config.target.kind, constants))


class Trainer:
    """The training chunk of `mumu_jax`, compiled, with state and data on the devices."""

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
        """Of a device, as the compiler laid it out: state, constants, the chunk of items and all temporaries."""
        memory = self._compiled.memory_analysis()
        held = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
        return held + memory.temp_size_in_bytes

    def run(self) -> None:
        """Train a chunk, to the end."""
        self._state, losses = self._compiled(self._state, self._chunk, self._constants)
        losses.block_until_ready()


if __name__ == "__main__":
    run_command(main)
