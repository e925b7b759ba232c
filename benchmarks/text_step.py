"""`python -m benchmarks.text_step`: training steps of the text network, its sparse first layer beside a dense one.

The same batches lie on the device both ways.  Needs jax, flax, optax and numpy, and torch for `--peer=torch`, whose
step is dense.
"""

import argparse
import dataclasses
import os
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from benchmarks import results, timing
from benchmarks.options import add_common, add_precision, check_peer, experiments, names, numbers
from benchmarks.output import COMPARISON, Output
from benchmarks.train_step import EPOCHS, LABELS_PER_ITEM, N_LABELS, Trainer
from mumu_jax.batch import Batch, Sparse
from mumu_jax.config import Config
from mumu_jax.experiments import load_config
from mumu_jax.models.kernels.sparse import densify
from mumu_jax.objectives.objective import Constants
from mumu_jax.system.terminal import run_command

BENCHMARK = "text_step"
NNZ = 100  # different words in 1,000 characters, about
ZIPF = 0.8  # how steeply words become rarer
N_STEPS = 8  # of a chunk


def main(argv: Sequence[str]) -> int:
    """Measure every combination that the command line asks for; 1 if one of them failed."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch needs memory on the same device
    arguments = parse(argv)
    jax.config.update("jax_enable_compilation_cache", False)  # compile seconds are part of the result
    out = Output(BENCHMARK, save=not arguments.no_save, titles=COMPARISON)
    for name in arguments.config:
        for precision in arguments.precision:
            for batch_size in arguments.batch_size:
                try:
                    out.add(measure(name, precision, batch_size, arguments))
                except Exception as error:  # such as a batch too large for the device: the others count still
                    out.fail(f"{name}, {precision}, batch {batch_size}", error)
    return out.status


def parse(argv: Sequence[str]) -> argparse.Namespace:
    on_cpu = jax.default_backend() == "cpu"
    parser = argparse.ArgumentParser(prog="python -m benchmarks.text_step", description=__doc__)
    parser.add_argument(
        "--config", type=names(experiments("text")), default=["text_vsm"], help="comma-separated; default text_vsm"
    )
    add_precision(parser)
    parser.add_argument("--batch_size", type=numbers, default=[32], help="comma-separated; default 32")
    parser.add_argument("--peer", choices=["torch"], help="measure PyTorch's dense step beside ours")
    add_common(parser, repeats=7, seconds=2.0 if on_cpu else 1.0)
    arguments = parser.parse_args(argv)
    check_peer(arguments.peer)
    return arguments


def measure(name: str, precision: str, batch_size: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """One row: the sparse step, the dense step and the peer take turns."""
    config = load_config(name)
    config.model.precision = precision
    constants, chunk = synthetic_constants(config), synthetic_chunk(config.tfidf.n_terms, batch_size)
    dense_inputs = jax.vmap(partial(densify, n_terms=config.tfidf.n_terms))(chunk.inputs)
    dense_chunk = dataclasses.replace(chunk, inputs=np.asarray(dense_inputs))
    n_examples = N_STEPS * batch_size
    sparse, dense = Trainer(config, chunk, constants), Trainer(config, dense_chunk, constants)
    sides = {}
    for side, trainer in (("sparse", sparse), ("dense", dense)):
        calls = timing.calls_within(arguments.seconds, trainer.run)
        sides[side] = lambda run=trainer.run, calls=calls: timing.rate(run, n_examples, calls)
    about_peer: dict[str, Any] = {}
    if arguments.peer:
        from benchmarks.torch_peer import TextPeer

        peer = TextPeer(config, constants, dense_chunk, precision, arguments.seconds)
        steps = timing.calls_within(arguments.seconds, lambda: peer.run(1))
        sides["peer"] = lambda: timing.rate(lambda: peer.run(steps), steps * batch_size, 1)
        about_peer = {"peer": "torch", "peer_way": str(peer.way), "peer_tried": peer.tried}

    rates = timing.take_turns(sides, arguments.repeats)
    if "peer" in rates:
        about_peer["peer_examples_per_s"] = timing.spread(rates["peer"]).median
        about_peer |= timing.columns("ratio", timing.ratios(rates["sparse"], rates["peer"]))
    return {
        **{"config": name, "precision": precision, "batch_size": batch_size, "mode": "synthetic"},
        **{"n_devices": 1, "device": results.device(), "repeats": arguments.repeats},
        **timing.columns("examples_per_s", rates["sparse"]),
        **{"epoch_s": EPOCHS["text"] / timing.spread(rates["sparse"]).median},
        **{"peak_bytes": sparse.peak_bytes, "compile_s": sparse.compile_s},
        **timing.columns("dense_examples_per_s", rates["dense"]),
        **timing.columns("dense_ratio", timing.ratios(rates["sparse"], rates["dense"])),
        **about_peer,
    }


def synthetic_chunk(n_terms: int, batch_size: int) -> Batch:
    """Texts of NNZ different words, common ones more often, in rows of length 1 as tf-idf gives them."""
    rng = np.random.default_rng(0)
    shares = np.arange(1.0, n_terms + 1) ** -ZIPF
    shape = (N_STEPS, batch_size)
    # The words with the NNZ smallest exponential times of these rates: drawn by their shares, none twice.
    times = rng.exponential(size=(*shape, n_terms)) / shares
    columns = np.argpartition(times, NNZ, axis=-1)[..., :NNZ].astype(np.int32)
    values = rng.uniform(0.5, 1.5, (*shape, NNZ)).astype(np.float32) / NNZ**0.5
    labels = (rng.random((*shape, N_LABELS)) < LABELS_PER_ITEM / N_LABELS).astype(np.uint8)
    return Batch(Sparse(columns, values), labels, np.ones(shape, np.float32))


def synthetic_constants(config: Config) -> Constants:
    """Label factors; dense rows are standardised to what they are."""
    n_factors = config.target.n_factors if config.target.kind == "cosine" else 0
    factors = np.random.default_rng(0).normal(size=(N_LABELS, n_factors)).astype(np.float32)
    return Constants(np.zeros((), np.float32), np.ones((), np.float32), factors)


if __name__ == "__main__":
    run_command(main)
