"""Figures of accelerators' data sheets, which estimates from compiled programs need.

Rates are those of dense bfloat16 products.  `link` is the bandwidth of one device in one direction to the devices that
its own interconnect reaches, and `network` that to all others.
"""

from typing import NamedTuple

GB, TFLOPS = 1e9, 1e12


class DataSheet(NamedTuple):
    """A device as its maker describes it, and the name by which a compiler knows it."""

    kind: str  # as `jax.Device.device_kind` has it
    platform: str  # "cuda" or "tpu"
    target: str  # the TPU's name in topologies, or the fields of XLA's GpuDeviceInfoProto that differ between GPUs
    flops_per_s: float
    float32_flops_per_s: float  # of products that keep float32 exact, as the networks' do
    bytes_per_s: float
    memory_bytes: float
    link_bytes_per_s: float
    linked: int  # devices that the interconnect reaches
    network_bytes_per_s: float = 0.0  # a TPU pod is larger than what is estimated here

    @property
    def backend(self) -> str:
        """Return JAX's name of the backend."""
        return "gpu" if self.platform == "cuda" else "tpu"

    def peak(self, precision: str) -> float:
        """Return the FLOP/s of products of this precision."""
        return self.flops_per_s if precision == "bfloat16" else self.float32_flops_per_s

    def between(self, n_devices: int) -> float:
        """Return the bytes a second that each of so many devices sends to the others in a ring."""
        return self.link_bytes_per_s if n_devices <= self.linked else self.network_bytes_per_s


_HOPPER = """
  cuda_compute_capability { major: 9 minor: 0 }
  core_count: 132 fpus_per_core: 128 clock_rate_ghz: 1.98 l2_cache_size: 52428800
  shared_memory_per_block: 49152 shared_memory_per_block_optin: 232448 shared_memory_per_core: 233472
"""
_AMPERE = """
  cuda_compute_capability { major: 8 minor: 0 }
  core_count: 108 fpus_per_core: 64 clock_rate_ghz: 1.41 l2_cache_size: 41943040
  shared_memory_per_block: 49152 shared_memory_per_block_optin: 166912 shared_memory_per_core: 167936
"""

# GPUs: NVIDIA's data sheets of the H200 SXM, H100 SXM and A100 80 GB SXM, and the table of compute capabilities in the
# CUDA C++ Programming Guide.  NVLink's bandwidth is half of the printed sum of both directions; it reaches the eight
# GPUs of one machine.  The network is one port a GPU of DGX machines: 400 Gb/s, and 200 Gb/s with the A100.
#
# TPUs: the pages of v5e, v5p and v6e in Google's Cloud TPU documentation; the interconnect's bandwidth is half of the
# printed sum of both directions, and reaches a whole pod.  Exact float32 takes six products of bfloat16.
DATA_SHEETS = {
    "h200": DataSheet(
        kind="NVIDIA H200",
        platform="cuda",
        target=_HOPPER,
        flops_per_s=989 * TFLOPS,
        float32_flops_per_s=67 * TFLOPS,
        bytes_per_s=4800 * GB,
        memory_bytes=141 * GB,
        link_bytes_per_s=450 * GB,
        linked=8,
        network_bytes_per_s=50 * GB,
    ),
    "h100": DataSheet(
        kind="NVIDIA H100 80GB HBM3",
        platform="cuda",
        target=_HOPPER,
        flops_per_s=989 * TFLOPS,
        float32_flops_per_s=67 * TFLOPS,
        bytes_per_s=3350 * GB,
        memory_bytes=80 * GB,
        link_bytes_per_s=450 * GB,
        linked=8,
        network_bytes_per_s=50 * GB,
    ),
    "a100": DataSheet(
        kind="NVIDIA A100-SXM4-80GB",
        platform="cuda",
        target=_AMPERE,
        flops_per_s=312 * TFLOPS,
        float32_flops_per_s=19.5 * TFLOPS,
        bytes_per_s=2039 * GB,
        memory_bytes=80 * GB,
        link_bytes_per_s=300 * GB,
        linked=8,
        network_bytes_per_s=25 * GB,
    ),
    "v5e": DataSheet(
        kind="TPU v5 lite",
        platform="tpu",
        target="v5e",
        flops_per_s=197 * TFLOPS,
        float32_flops_per_s=197 / 6 * TFLOPS,
        bytes_per_s=819 * GB,
        memory_bytes=16 * GB,
        link_bytes_per_s=200 * GB,
        linked=256,
    ),
    "v5p": DataSheet(
        kind="TPU v5",
        platform="tpu",
        target="v5p",
        flops_per_s=459 * TFLOPS,
        float32_flops_per_s=459 / 6 * TFLOPS,
        bytes_per_s=2765 * GB,
        memory_bytes=95 * GB,
        link_bytes_per_s=600 * GB,
        linked=8960,
    ),
    "v6e": DataSheet(
        kind="TPU v6 lite",
        platform="tpu",
        target="v6e",
        flops_per_s=918 * TFLOPS,
        float32_flops_per_s=918 / 6 * TFLOPS,
        bytes_per_s=1638 * GB,
        memory_bytes=32 * GB,
        link_bytes_per_s=400 * GB,
        linked=256,
    ),
}
