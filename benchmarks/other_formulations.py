"""Networks in which one convolution is computed in another formulation than the fixed table's."""

from benchmarks.made_up_batches import Problem, item_of
from mumu_jax.compute.formulations import convolutions_of, with_formulations
from mumu_jax.compute.network import Network
from mumu_jax.models.kernels.backend import backend
from mumu_jax.models.kernels.formulations import FIXED, Convolution, usable

Shape = tuple[int, ...]  # of a kernel: frames, bins, channels in and out


def alternatives(problem: Problem) -> list[tuple[Shape, str]]:
    """Return a (kernel shape, formulation) for every formulation that a convolution may have and does not have."""
    convolutions = convolutions_of(problem.network, item_of(problem.chunk(1, 1)))
    return [
        (one.kernel_shape, name) for one in convolutions for name in sorted(usable(one) - {FIXED(backend(), 1, one)})
    ]


def formulated(network: Network, shape: Shape, formulation: str) -> Network:
    """Return the network that computes the convolutions whose kernel has this shape in that formulation."""

    def choose(backend: str, n_items: int, convolution: Convolution) -> str:
        return formulation if convolution.kernel_shape == shape else FIXED(backend, n_items, convolution)

    return with_formulations(network, choose)
