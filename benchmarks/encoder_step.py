"""`python -m benchmarks.encoder_step`: train on texts with BERT's encoder, whole and frozen, beside PyTorch.

The texts fill all of their 128 tokens and are already on the device, as in `benchmarks.train_step`.  PyTorch's frozen
encoder runs in inference mode.  It needs as few packages as `benchmarks.device`.
"""

import argparse
from collections.abc import Sequence
from itertools import product

import jax

from benchmarks import options, timing, train_step
from benchmarks.benchmark import Benchmark
from benchmarks.columns import Row
from benchmarks.flops import fastest_product, train_flops
from benchmarks.made_up_batches import Problem
from mumu_jax.config import BertSettings, Config, ModelSettings, TargetSettings
from mumu_jax.system.terminal import run_command

SIZES = {
    "bert_4x256": BertSettings(layers=4, width=256, heads=4, inner=1024),
    "bert_base": BertSettings(),
}
MODES = ("trained", "frozen")
DROPOUT = 0.1


def main(argv: Sequence[str]) -> int:
    """Measure every combination that the command line asks for; 1 if one of them failed."""
    train_step.share_the_device()
    on_cpu = jax.default_backend() == "cpu"
    benchmark = Benchmark("encoder_step", __doc__, repeats=7, seconds=2.0 if on_cpu else 1.0)
    sizes, shared = ",".join([*SIZES][: 1 if on_cpu else 2]), "comma-separated; default %(default)s"
    benchmark.option("--config", type=options.names(SIZES), default=sizes, help=shared)
    options.add_precision(benchmark.parser)
    benchmark.option("--batch_size", type=options.numbers, default="8" if on_cpu else "32,256", help=shared)
    benchmark.option("--peer", type=train_step.installed, choices=["torch"], help="measure PyTorch's beside ours")
    arguments = benchmark.start(argv)
    peaks = {precision: fastest_product(precision, min(0.3, arguments.seconds)) for precision in arguments.precision}
    cases = product(arguments.config, arguments.precision, arguments.batch_size, MODES)
    for config, precision, batch_size, mode in cases:
        case = {"config": config, "precision": precision, "batch_size": batch_size, "mode": mode, "n_devices": 1}
        benchmark.measure(case, measure, config, precision, batch_size, mode, peaks[precision], arguments)
    return benchmark.status


def measure(
    config: str, precision: str, batch_size: int, mode: str, peak: train_step.Rate, arguments: argparse.Namespace
) -> Row:
    """Return a row's measurements: ours, the matmul peak and the peer take turns."""
    problem = make_problem(config, precision, mode)
    flops_an_item = train_flops(problem)
    n_steps = train_step.steps_within(arguments.seconds, flops_an_item * batch_size, peak)
    chunk = problem.chunk(n_steps, batch_size)
    trainer = train_step.Trainer(problem, chunk)
    sides = {"peak": peak, "ours": timing.timed(trainer.run, n_steps * batch_size, arguments.seconds)}
    row: Row = {}
    if arguments.peer:
        from benchmarks.torch_peer import PEERS

        peer = PEERS["lyrics"](problem, chunk, arguments.seconds)
        sides["peer"], row = peer.side(batch_size, arguments.seconds), peer.columns()
    rates = timing.take_turns(sides, arguments.repeats)
    return {
        **timing.figures(rates["ours"], rates.get("peer")),
        **train_step.work_columns(rates["ours"], train_step.EPOCHS["lyrics"], flops_an_item, max(rates["peak"]), 1),
        "peak_bytes": trainer.peak_bytes,
        "compile_s": trainer.compile_s,
        **row,
    }


def make_problem(config: str, precision: str, mode: str) -> Problem:
    """Return the problem of logistic targets from an encoder of one of `SIZES`."""
    bert = BertSettings(**{**vars(SIZES[config]), "frozen": mode == "frozen"})
    model = ModelSettings(family="bert", dropout=DROPOUT, precision=precision, bert=bert)
    return Problem(Config(modality="lyrics", model=model, target=TargetSettings(kind="logistic")))


if __name__ == "__main__":
    run_command(main)
