"""Options of XLA's compilers for programs of networks, where they differ from XLA's own, by kind of device."""

from importlib.metadata import version
from typing import Any

# Keep the barriers of `kernels.backend.stored` to the end.  By itself, XLA removes them before it fuses what they keep
# apart, and makes one kernel of a loop over few bytes, which cannot have barriers.
CPU_KEEPS_BARRIERS = {"xla_disable_hlo_passes": "cse_barrier_expander,small-while-loop-hoisting"}

# Compute convolutions by Eigen.  These are the defaults of jaxlib 0.10 but for YNNPACK's convolutions, with which a
# step of a tagging network takes up to a fifth longer, and one of an image network as long; measured on an AMD EPYC.
# With jaxlib 0.12 a step takes as long by either, so it is not given there.  The option is experimental: what another
# version makes of it has to be measured first.
CPU_EIGENS_CONVOLUTIONS = {
    "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE"
}
MEASURED_WITH = "0.10."

# Send all gradients as one message.  By itself, XLA sends at most 30 MB in one.
GPU_IN_ONE_MESSAGE = {"xla_gpu_all_reduce_combine_threshold_bytes": 2**31}

# Give a kernel 28 MiB of vector memory.  With 32, XLA's own, a gradient of `audio_high_4x70` on four devices does not
# fit beside what else is held there, and is compiled four times until it does: a quarter of the program's compile time.
# By the compiler's estimate, cycles change by -1 to +2 %, depending on the network.
V6E_HAS_28_MIB = {"xla_tpu_scoped_vmem_limit_kib": str(28 * 2**10)}
V6E = ("TPU v6 lite", "TPU v6e")


def compiler_options(device: Any) -> dict[str, Any]:
    """Return compiler options for programs that run on devices like this one, which need not be on this machine."""
    if device.platform == "cpu":
        measured = version("jaxlib").startswith(MEASURED_WITH)
        return CPU_KEEPS_BARRIERS | (CPU_EIGENS_CONVOLUTIONS if measured else {})
    if device.platform == "gpu":
        return {**GPU_IN_ONE_MESSAGE}
    return {**V6E_HAS_28_MIB} if device.device_kind in V6E else {}
