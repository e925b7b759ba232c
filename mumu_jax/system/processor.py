"""The processor that this process runs on."""

import os
import platform
from pathlib import Path

VECTORS = {"avx512f": "AVX-512", "avx2": "AVX2"}  # sets of vector instructions by their flag in Linux, widest first


def processor() -> str:
    """Return the processor's model, widest vectors, and the cores of this process: `AMD EPYC, AVX2, 2 cores`.

    Virtual machines call processors that compute at different speeds by one name; their vectors often tell them apart.
    """
    described = _described()
    flags = described.get("flags", "").split()
    model = described.get("model name") or platform.processor() or platform.machine()
    vectors = [name for flag, name in VECTORS.items() if flag in flags][:1]
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return ", ".join([model, *vectors, f"{n_cores} cores"])


def processor_in_full() -> str:
    """Return `processor`, and the numbers that tell models of one name apart, which virtual machines may have."""
    described = _described()
    numbers = [f"{name} {described[name]}" for name in ("cpu family", "model", "stepping") if name in described]
    return ", ".join([processor(), *numbers])


def _described() -> dict[str, str]:
    """Return what Linux says about the first core, by name."""
    try:
        first = Path("/proc/cpuinfo").read_text().partition("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
