"""Compilers of training chunks for accelerators that this machine does not have.

They come in wheels that `scripts/compilers` puts into FOLDER, beside the virtual environment: in it, JAX would look for
their devices at every start.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh

from benchmarks.data_sheets import DataSheet
from benchmarks.made_up_batches import Problem, item_of
from mumu_jax.compute import devices
from mumu_jax.compute.optim import make_optimizer
from mumu_jax.compute.state import create_state
from mumu_jax.errors import UserError, reason_of
from mumu_jax.models.kernels.backend import traced_for

FOLDER = Path(__file__).parent.parent / ".venv-compilers"

# Of a chunk, about as many as training has at most; no other dimension of a network is 31, so that an array of a whole
# chunk, of which a step reads its part, can be told by its first one.
N_STEPS = 31

# Without these, the TPU's compiler asks the network which machine it is on.
TPU_MACHINE = {
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # there is no device that two processes could share
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
}

# A GPU's products are cuBLAS's here.  On the device, Triton's are tried beside them; without it their tile sizes cannot
# be tuned, and do not fit every shape.
GPU_FLAGS = "--xla_gpu_enable_triton_gemm=false"

# One device is compiled for as one of four.
TOPOLOGIES = {
    "v5e": {4: "2x2", 8: "2x4", 64: "8x8"},
    "v5p": {4: "2x2x1", 8: "2x2x2", 64: "4x4x4"},
    "v6e": {4: "2x2", 8: "2x4", 64: "8x8"},
}
N_DEVICES = (1, 4, 8, 64)

# What XLA's GpuTargetConfigProto has beside a data sheet's fields, of any GPU.
TARGET = """
platform_name: "CUDA"
device_description_str: "{kind}"
dnn_version_info {{ major: 9 minor: 10 patch: 0 }}
gpu_device_info {{
  name: "{kind}"
  {fields}
  memory_bandwidth: {bytes_per_s:.0f} device_memory_size: {memory_bytes:.0f}
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  threads_per_warp: 32 threads_per_block_limit: 1024 threads_per_core_limit: 2048
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  driver_version: "12.8.0" runtime_version: "12.8.0" compile_time_toolkit_version: "12.8.0" dnn_version: "9.10.0"
}}
"""


class Compiled(NamedTuple):
    """A program for one device, and the time that its compiler took: by the clock, and on all cores together."""

    program: Any  # jax.stages.Compiled
    seconds: float
    core_seconds: float


def prepare() -> None:
    """Make the compilers' wheels importable, and keep JAX from looking for their devices.  Call this first."""
    sys.path.append(str(FOLDER))
    os.environ.update(TPU_MACHINE)
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {GPU_FLAGS}".strip()
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_compilation_cache", False)  # the seconds are measured


def absent_mesh(sheet: DataSheet, n_devices: int) -> Mesh:
    """Return a mesh of devices that are not there.  Raises UserError if no compiler for them is installed."""
    try:
        topology = _gpus(sheet, n_devices) if sheet.platform == "cuda" else _tpus(sheet, n_devices)
    except Exception as error:  # of several kinds, depending on the missing package
        reason = f"no compiler for {sheet.kind} ({reason_of(error)})"
        raise UserError(f"{reason}; run scripts/compilers, which installs it") from error
    return Mesh(np.array(topology.devices[:n_devices]), (devices.AXIS,))


def compile_chunk(problem: Problem, batch_size: int, sheet: DataSheet, n_devices: int, kind: str) -> Compiled:
    """Compile a training chunk, as training runs it but for GPU_FLAGS.

    `kind` is `config.parallel`, and the batch that of all devices.
    """
    mesh = absent_mesh(sheet, n_devices)
    tx, item = make_optimizer(problem.config.optim, problem.network.trainable), item_of(problem.chunk(1, 1))
    state = jax.eval_shape(lambda: create_state(problem.network, tx, item, problem.config.seed))
    here = devices.replicated(mesh)
    state, constants = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here), (state, problem.constants)
    )
    chunk = devices.abstract_chunk((N_STEPS, batch_size), item, problem.n_labels, mesh)
    start, start_of_cores = time.perf_counter(), time.process_time()
    with traced_for(sheet.backend):
        compiled: Any = devices.compile_train_chunk(kind, mesh, problem.network, tx, (state, chunk, constants))
    program = getattr(compiled, "compiled", compiled)  # of pmap: without the dealing of a chunk, which costs nothing
    return Compiled(program, time.perf_counter() - start, time.process_time() - start_of_cores)


def _gpus(sheet: DataSheet, n_devices: int) -> Any:
    """Return GPUs in machines of eight at most."""
    target = TARGET.format(
        kind=sheet.kind, fields=sheet.target, bytes_per_s=sheet.bytes_per_s, memory_bytes=sheet.memory_bytes
    )
    machines = -(-n_devices // sheet.linked)
    return topologies.get_topology_desc(
        platform="cuda", target_config=target, topology=f"1x{machines}x{n_devices // machines}"
    )


def _tpus(sheet: DataSheet, n_devices: int) -> Any:
    shape = TOPOLOGIES[sheet.target][max(n_devices, 4)]
    return topologies.get_topology_desc(platform="tpu", topology_name=f"{sheet.target}:{shape}")
