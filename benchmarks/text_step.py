"""`python -m benchmarks.text_step`: train the text network with its sparse first layer, beside a dense one.

The same batches are on the device both ways.  Needs jax, flax, optax and numpy, and torch for `--peer=torch`, whose
step is dense.
"""

import argparse
import dataclasses
from collections.abc import Sequence
from functools import partial
from itertools import product
from statistics import median

import jax
import numpy as np

from benchmarks import options, timing
from benchmarks.columns import Row
from benchmarks.output import Output
from benchmarks.train_step import EPOCHS, LABELS_PER_ITEM, N_LABELS, Trainer, prepare_jax
from mumu_jax.batch import Batch, Sparse
from mumu_jax.config import Config
from mumu_jax.experiments import load_config
from mumu_jax.models.kernels.sparse import densify
from mumu_jax.objectives.objective import Constants
from mumu_jax.system.terminal import run_command

NNZ = 100  # different words in 1,000 characters, about
ZIPF = 0.8  # how steeply words become rarer
N_STEPS = 8  # of a chunk


def main(argv: Sequence[str]) -> int:
    """Measure every combination that the command line asks for; 1 if one of them failed."""
    prepare_jax()  # before its first use
    arguments = parse(argv)
    common = {"mode": "synthetic", "n_devices": 1, "repeats": arguments.repeats}
    output = Output("text_step", not arguments.no_save, **common)
    for name, precision, batch_size in product(arguments.config, arguments.precision, arguments.batch_size):
        output.measure(f"{name}, {precision}, batch {batch_size}", measure, name, precision, batch_size, arguments)
    return output.status


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = options.make_parser("benchmarks.text_step", __doc__)
    options.add_config(parser, ["text_vsm"], "text")
    options.add_precision(parser)
    parser.add_argument("--batch_size", type=options.numbers, default=[32], help="comma-separated; default 32")
    options.add_peer(parser)
    options.add_repeats(parser, repeats=7, seconds=2.0 if jax.default_backend() == "cpu" else 1.0)
    arguments = parser.parse_args(argv)
    options.check_peer(arguments.peer)
    return arguments


def measure(name: str, precision: str, batch_size: int, arguments: argparse.Namespace) -> Row:
    """Return one row: the sparse step, the dense step and the peer take turns."""
    config = load_config(name)
    config.model.precision = precision
    constants, chunk = synthetic_constants(config), synthetic_chunk(config.tfidf.n_terms, batch_size)
    dense_inputs = jax.vmap(partial(densify, n_terms=config.tfidf.n_terms))(chunk.inputs)
    dense_chunk = dataclasses.replace(chunk, inputs=np.asarray(dense_inputs))
    trainers = {"sparse": Trainer(config, chunk, constants), "dense": Trainer(config, dense_chunk, constants)}
    sides = {
        side: timing.timed(trainer.run, N_STEPS * batch_size, arguments.seconds) for side, trainer in trainers.items()
    }
    about_peer: Row = {}
    if arguments.peer:
        from benchmarks.torch_peer import TextPeer

        peer = TextPeer(config, constants, dense_chunk, precision, arguments.seconds)
        sides["peer"], about_peer = peer.side(batch_size, arguments.seconds), peer.columns()
    rates = timing.take_turns(sides, arguments.repeats)
    return {
        "config": name,
        "precision": precision,
        "batch_size": batch_size,
        **timing.figures(rates["sparse"], rates.get("peer")),
        "epoch_s": EPOCHS["text"] / median(rates["sparse"]),
        "peak_bytes": trainers["sparse"].peak_bytes,
        "compile_s": trainers["sparse"].compile_s,
        **timing.columns("dense_examples_per_s", rates["dense"]),
        **timing.columns("dense_ratio", timing.ratios(rates["sparse"], rates["dense"])),
        **about_peer,
    }


def synthetic_chunk(n_terms: int, batch_size: int) -> Batch:
    """Return texts of NNZ different words, common ones more often, in rows of length 1 as tf-idf gives them."""
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
    """Return label factors, and a mean and deviation that leave dense rows as they are."""
    n_factors = config.target.n_factors if config.target.kind == "cosine" else 0
    factors = np.random.default_rng(0).normal(size=(N_LABELS, n_factors)).astype(np.float32)
    return Constants(np.zeros((), np.float32), np.ones((), np.float32), factors)


if __name__ == "__main__":
    run_command(main)
