"""`python -m benchmarks.h200_module`: compile training steps for an H200 on a machine without one; nothing is run.

A row says how many kernels a step is, how many bytes they move, and if a weight gradient became a convolution with a
giant window.  A step is the body of a chunk's loop, as training runs it: alone it would copy parameters between
layouts.  Needs the CUDA plugin of the same version as jaxlib: pip install jax-cuda12-plugin jax-cuda12-pjrt
nvidia-cuda-nvcc-cu12 (the wheels alone, `--no-deps`).
"""

import math
import os
import re
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh

from benchmarks import options
from benchmarks.benchmark import Benchmark
from benchmarks.columns import Row
from benchmarks.made_up_batches import Problem, item_of
from mumu_jax.compute import devices
from mumu_jax.compute.optim import make_optimizer
from mumu_jax.compute.state import create_state
from mumu_jax.errors import UserError
from mumu_jax.experiments import load_config
from mumu_jax.models.kernels.backend import traced_for
from mumu_jax.system.terminal import run_command

DEVICE = "NVIDIA H200"

# NVIDIA's data sheet and CUDA's table of compute capability 9.0, in the words of XLA's GpuTargetConfigProto.
TARGET = f"""
platform_name: "CUDA"
device_description_str: "{DEVICE}"
dnn_version_info {{ major: 9 minor: 10 patch: 0 }}
gpu_device_info {{
  name: "{DEVICE}"
  cuda_compute_capability {{ major: 9 minor: 0 }}
  core_count: 132 fpus_per_core: 128 clock_rate_ghz: 1.98
  memory_bandwidth: 4800000000000 device_memory_size: 151397597184 l2_cache_size: 52428800
  shared_memory_per_block: 49152 shared_memory_per_block_optin: 232448 shared_memory_per_core: 233472
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  threads_per_warp: 32 threads_per_block_limit: 1024 threads_per_core_limit: 2048
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  driver_version: "12.8.0" runtime_version: "12.8.0" compile_time_toolkit_version: "12.8.0" dnn_version: "9.10.0"
}}
"""

N_STEPS = 2  # of a chunk: one would be no loop.  What a step reads of the chunk's inputs counts whole, so twice.

# The longest kernel over time; a weight gradient that is computed as a convolution has a window of hundreds of frames.
LONGEST_KERNEL = 4

# Instructions of a compiled module that start no kernel.
VALUES = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "opt-barrier", "partition-id"}
CALLS = {"while", "call", "conditional", "async-start", "async-update", "async-done"}


class Instruction(NamedTuple):
    """One line of a compiled module: its opcode, the bytes of its result, the names it reads, and the line."""

    opcode: str
    n_bytes: int
    operands: tuple[str, ...]
    text: str


def main(argv: Sequence[str]) -> int:
    """Compile every combination; 1 if one of them failed."""
    benchmark = Benchmark("h200_module", __doc__)
    options.add_cases(benchmark.parser, options.SIX, "audio", "image")
    benchmark.parser.set_defaults(precision="bfloat16,float32", batch_size="32,256")
    arguments = benchmark.start(argv, mode="compiled, not run", n_devices=1, device=DEVICE)
    mesh = h200_mesh()
    for name, precision, batch_size in product(arguments.config, arguments.precision, arguments.batch_size):
        case = {"config": name, "precision": precision, "batch_size": batch_size}
        benchmark.measure(case, measure, **case, mesh=mesh)
    return benchmark.status


def h200_mesh() -> Mesh:
    """Return a mesh of one H200 that is not there.  Raises UserError if no compiler for it is installed."""
    try:
        topology = topologies.get_topology_desc(platform="cuda", target_config=TARGET, topology="1x1x1")
    except Exception as error:  # of several kinds, depending on the missing package
        raise UserError(
            f"no compiler for an H200: {str(error).splitlines()[0]}; with JAX_PLATFORMS=cpu and the wheels "
            "jax-cuda12-plugin, jax-cuda12-pjrt (of jaxlib's version) and nvidia-cuda-nvcc-cu12 there is one"
        ) from error
    return Mesh(np.array(topology.devices), (devices.AXIS,))


def measure(config: str, precision: str, batch_size: int, mesh: Mesh) -> Row:
    """Return a row's values: the kernels of a compiled step and the bytes they move."""
    settings = load_config(config)
    settings.model.precision = precision
    computations = parse_module(compile_chunk(Problem(settings), batch_size, mesh))
    kernels = step_of(computations)
    return {
        "n_kernels": len(kernels),
        "bytes_per_example": sum(n_bytes for _, n_bytes in kernels) / batch_size,
        "n_giant_windows": len(giant_windows(computations)),
    }


def compile_chunk(problem: Problem, batch_size: int, mesh: Mesh) -> str:
    """Return the text of a training chunk's module for that device."""
    network, tx, item = problem.network, make_optimizer(problem.config.optim), item_of(problem.chunk(1, 1))
    state = jax.eval_shape(lambda: create_state(network, tx, item, problem.config.seed))
    here = devices.replicated(mesh)
    state, constants = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here), (state, problem.constants)
    )
    chunk = devices.abstract_chunk((N_STEPS, batch_size), item, problem.n_labels, mesh)
    with traced_for("gpu"):
        compiled: Any = devices.compile_train_chunk("jit", mesh, network, tx, (state, chunk, constants))
    return compiled.as_text()


def parse_module(text: str) -> dict[str, dict[str, Instruction]]:
    """Return computation → name → instruction; the entry computation is called ENTRY."""
    computations: dict[str, dict[str, Instruction]] = {}
    current: dict[str, Instruction] = {}
    for line in text.splitlines():
        if head := re.match(r"(ENTRY )?%?([\w.\-]+) \(.*\{$", line):
            current = computations.setdefault("ENTRY" if head[1] else head[2], {})
        elif found := re.match(r"\s+(?:ROOT )?%([\w.\-]+) = (.*?) ([a-z][\w\-]*)\((.*)", line):
            name, shape, opcode, rest = found.groups()
            operands = tuple(re.findall(r"%([\w.\-]+)", rest.split("), ")[0]))
            current[name] = Instruction(opcode, _bytes(shape, opcode), operands, line)
    return computations


def kernels_of(computations: dict[str, dict[str, Instruction]], name: str) -> Iterator[tuple[Instruction, int]]:
    """Yield each kernel and the bytes it reads and writes: every operand and result once, a loop's body once."""
    computation = computations[name]
    for one in computation.values():
        if one.opcode not in VALUES | CALLS:
            read = {operand: computation[operand].n_bytes for operand in one.operands if operand in computation}
            yield one, one.n_bytes + sum(read.values())
        elif one.opcode in ("while", "call", "async-start"):
            for called in re.findall(r"(?:body|to_apply|calls)=%([\w.\-]+)", one.text):
                yield from kernels_of(computations, called)


def step_of(computations: dict[str, dict[str, Instruction]]) -> list[tuple[Instruction, int]]:
    """Return the kernels of the largest loop's body, and their bytes.  Raises ValueError if there is no loop."""
    loops = [one for computation in computations.values() for one in computation.values() if one.opcode == "while"]
    bodies = [
        list(kernels_of(computations, found)) for one in loops for found in re.findall(r"body=%([\w.\-]+)", one.text)
    ]
    return max(bodies, key=len)


def giant_windows(computations: dict[str, dict[str, Instruction]]) -> list[str]:
    """Return the lines of convolutions whose window is longer than any kernel."""
    lines = [one.text for computation in computations.values() for one in computation.values()]
    convolutions = [line for line in lines if " convolution(" in line or "__cudnn$conv" in line]
    sizes = [(re.search(r"window=\{size=(\d+)", line), line) for line in convolutions]
    return [line for size, line in sizes if size and int(size[1]) > LONGEST_KERNEL]


def _bytes(shape: str, opcode: str) -> int:
    """Return the bytes of an array, or of all arrays of a tuple, without a library call's workspace (u8)."""
    arrays = re.findall(r"\b([a-z]+\d*)\[([\d,]*)\]", shape)
    results = [(kind, dims) for kind, dims in arrays if not (kind == "u8" and opcode == "custom-call")]
    return sum(_item_bytes(kind) * math.prod(map(int, filter(None, dims.split(",")))) for kind, dims in results)


def _item_bytes(kind: str) -> int:
    """Return the bytes of one value.  XLA's types end with their bits, except pred (a byte) and token (nothing)."""
    bits = re.search(r"\d+$", kind)
    return int(bits[0]) // 8 if bits else int(kind == "pred")


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    run_command(main)
