"""The published image networks in PyTorch, where the benchmarks have them."""

from benchmarks.torch_networks import NETWORKS, Block  # noqa: F401
