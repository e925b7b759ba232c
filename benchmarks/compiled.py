"""`python -m benchmarks.compiled`: compile training for accelerators that are not here, and estimate its speed.

Nothing is run.  A row is one compiled program: its kernels a step, the bytes that they move, its messages to other
devices, its memory, and the seconds an epoch by the device's data sheet: the longer of its FLOPs at the peak and its
bytes at the memory's bandwidth, and the all-reduce at the interconnect's.  The estimate knows no latency and no kernel
that is slower than both, so it is a lower bound.  It leaves out that a contrastive loss gathers the embeddings of all
devices, which are small beside the gradients.  `scripts/compilers` installs the compilers.
"""

import argparse
import math
import os
from collections.abc import Sequence
from functools import partial
from itertools import product
from typing import Any
from unittest import mock

import jax

from benchmarks import compilers, modules, options, roofline
from benchmarks.benchmark import Benchmark
from benchmarks.columns import Row
from benchmarks.data_sheets import DATA_SHEETS, DataSheet
from benchmarks.made_up_batches import Problem, item_of
from benchmarks.train_step import EPOCHS, make_problem
from mumu_jax.compute.optim import make_optimizer
from mumu_jax.compute.state import abstract_variables, create_state
from mumu_jax.compute.step import train_step
from mumu_jax.errors import UserError
from mumu_jax.models.kernels import conv_pool
from mumu_jax.models.kernels.backend import traced_for
from mumu_jax.system.terminal import run_command

KINDS = ("jit", "pmap")
CONFIGS = [*options.SIX, "image_resnet101", "text_vsm", *options.JOINT]


def main(argv: Sequence[str]) -> int:
    """Compile every combination; 1 if one of them failed."""
    compilers.prepare()
    benchmark = Benchmark("compiled", __doc__)
    options.add_cases(benchmark.parser, CONFIGS, *EPOCHS)
    benchmark.parser.set_defaults(precision="bfloat16", batch_size="32,256")
    shared = "comma-separated; default %(default)s"
    sheets, known = ",".join(DATA_SHEETS), options.names(DATA_SHEETS)
    benchmark.option("--device", type=known, default=sheets, help=shared)
    benchmark.option("--devices", type=n_devices, default="1,4", help=f"of {_NUMBERS}; the batch is that of each")
    benchmark.option("--parallel", type=options.names(KINDS), default="jit", help="jit, pmap: of several devices")
    arguments = benchmark.start(argv, device=None)
    for name, config, precision in product(arguments.device, arguments.config, arguments.precision):
        for size, n, kind in product(arguments.batch_size, arguments.devices, arguments.parallel):
            if n == 1 and kind != KINDS[0]:
                continue  # one device's program is the same
            case = {"config": config, "precision": precision, "batch_size": size * n, "mode": kind, "n_devices": n}
            sheet = DATA_SHEETS[name]
            benchmark.measure({**case, "device": sheet.kind}, measure, sheet, **case)
    return benchmark.status


_NUMBERS = ", ".join(map(str, compilers.N_DEVICES))


def n_devices(text: str) -> list[int]:
    """Parse an argument that is a comma-separated list of numbers of devices that a compiler knows."""
    numbers = options.numbers(text)
    if unknown := set(numbers) - set(compilers.N_DEVICES):
        raise argparse.ArgumentTypeError(f"{min(unknown)} is none of {_NUMBERS}")
    return numbers


def measure(sheet: DataSheet, config: str, precision: str, batch_size: int, mode: str, n_devices: int) -> Row:
    """Return a row's values, those of one device."""
    problem, n_items = make_problem(config, precision), batch_size // n_devices
    flops = _flops(problem, n_items, sheet)
    compiled = compilers.compile_chunk(problem, batch_size, sheet, n_devices, mode)
    module = modules.Module(compiled.program.as_text())
    step = module.step()
    copies = [line for size in _input_sizes(problem) for line in modules.copies(step, n_items * size)]
    n_bytes, sent = sum(size for _, size in step), modules.messages(step)
    step_s = roofline.step_s(sheet, precision, flops, n_bytes)
    sent_s = roofline.all_reduce_s(sheet, sum(sent), n_devices)
    peak_bytes, n_examples = _peak_bytes(compiled.program, problem, n_items), EPOCHS[problem.config.modality]
    return {
        "n_kernels": len(step),
        "step_flops": flops,
        "step_bytes": n_bytes,
        "bytes_per_example": n_bytes / n_items,
        "n_all_reduces": len(sent),
        "all_reduce_bytes": sum(sent),
        "n_giant_windows": len(module.giant_windows(_longest_kernel(problem))) if sheet.platform == "cuda" else None,
        "n_copies": len(copies),
        "cycles": modules.cycles(step) or None,
        "peak_bytes": peak_bytes,
        "memory_share": peak_bytes / sheet.memory_bytes,
        "compile_s": compiled.seconds,
        "compile_core_s": compiled.core_seconds,
        "estimated_epoch_s": (step_s + sent_s) * n_examples / batch_size,
        "n_examples": n_examples,
    }


def _longest_kernel(problem: Problem) -> int:
    """Return the largest first size of a convolution's window: over time, or over a cover's rows."""
    variables = abstract_variables(problem.network, item_of(problem.chunk(1, 1)))
    return max((leaf.shape[0] for leaf in jax.tree.leaves(variables["params"]) if len(leaf.shape) == 4), default=0)


def _input_sizes(problem: Problem) -> set[int]:
    """Return the numbers of values in an item's inputs."""
    return {leaf.size for leaf in jax.tree.leaves(item_of(problem.chunk(1, 1)))}


def _flops(problem: Problem, n_items: int, sheet: DataSheet) -> float:
    """Return the operations of a step on so many items in this device's formulation, as XLA counts them.

    All items are convolved at once: of a TPU's loop over chunks of them, XLA counts one turn.  Raises UserError if the
    step has a loop of its own.
    """
    network, chunk = problem.network, problem.chunk(1, n_items)
    tx = make_optimizer(problem.config.optim, network.trainable)
    state = jax.eval_shape(lambda: create_state(network, tx, item_of(chunk), problem.config.seed))
    batch = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), chunk)
    with traced_for(sheet.backend), mock.patch.object(conv_pool, "VECTOR_MEMORY", math.inf):
        traced = jax.jit(partial(train_step, network=network, tx=tx)).trace(state, batch, problem.constants)
    if "scan[" in str(traced.jaxpr):
        raise UserError(f"a step of {problem.config.name} loops over frames, of which XLA's counts have only one")
    cost: Any = traced.lower().cost_analysis()
    return cost["flops"]


def _peak_bytes(program: Any, problem: Problem, n_items: int) -> int:
    """Return a device's memory as the compiler plans it, with the next chunk of inputs, which training has loaded."""
    memory = program.memory_analysis()
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    one_step = sum(leaf.nbytes for leaf in jax.tree.leaves(problem.chunk(1, 1))) * n_items
    return held + memory.temp_size_in_bytes + compilers.N_STEPS * one_step


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    run_command(main)
