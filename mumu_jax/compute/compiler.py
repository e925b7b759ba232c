"""Options of XLA's compilers for programs of networks: what each shall do otherwise than by itself."""

from functools import cache
from typing import Any

import jax

# A CPU's compiler removes the barriers of `kernels.backend.stored` before it fuses what they keep apart, and makes one
# kernel of a loop over few bytes, which cannot have barriers.
CPU_WITHOUT = {"xla_disable_hlo_passes": "cse_barrier_expander,small-while-loop-hoisting"}

# What YNNPACK computes on a CPU: by itself, convolutions as well.  With Eigen's, measured on an AMD EPYC, a step of a
# tagging network takes up to 17 % less time, and one of an image network as much or a little less.
CPU_YNNPACK = ("xla_cpu_experimental_ynn_fusion_type", "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE")

# A GPU's compiler sends gradients as messages of 30 MB at most.
GPU_IN_ONE_MESSAGE = {"xla_gpu_all_reduce_combine_threshold_bytes": 2**31}

# A v6e's compiler plans kernels with 32 MiB of vector memory of their own.  With 28, no gradient of HIGH-4x70 on four
# devices is compiled four times until it fits beside what else is held there, which is a quarter of all the time.
V6E_WITH_28_MIB = {"xla_tpu_scoped_vmem_limit_kib": str(28 * 2**10)}


def compiler_options(device: Any) -> dict[str, Any]:
    """Return compiler options for programs of networks that run on devices like this one, which may be absent."""
    if device.platform == "cpu":
        return CPU_WITHOUT | (dict([CPU_YNNPACK]) if _is_known(*CPU_YNNPACK) else {})
    if device.platform == "gpu":
        return GPU_IN_ONE_MESSAGE
    return V6E_WITH_28_MIB if device.device_kind == "TPU v6 lite" else {}


@cache
def _is_known(option: str, value: str) -> bool:
    """Return whether this version's compiler has an experimental option."""
    try:
        jax.jit(lambda: 0).lower().compile({option: value})
    except jax.errors.JaxRuntimeError:
        return False
    return True
