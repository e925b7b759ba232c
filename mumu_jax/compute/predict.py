"""A network's predictions for all items of a split."""

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import lax
from jax.sharding import Mesh
from jaxtyping import Array, Float, UInt8

from mumu_jax.batch import Batch
from mumu_jax.compute import devices
from mumu_jax.compute.compiler_options import compiler_options
from mumu_jax.compute.network import Constants, Network
from mumu_jax.compute.step import Predictions, predict_step


class SplitPredictions(NamedTuple):
    """Predictions for all items of a split, in its order; on the host.

    `patches` are the scores of the patches of each track, if the scores are those of several together.
    """

    loss: float
    scores: Float[np.ndarray, "items labels"]
    labels: UInt8[np.ndarray, "items labels"]
    embedding: Float[np.ndarray, "items d"]  # d = 0 if it was not asked for
    patches: Float[np.ndarray, "items patches labels"] | None = None


def predict(
    variables: Any,
    chunks: Iterable[Batch],
    constants: Constants,
    network: Network,
    mesh: Mesh,
    embed: bool = True,
    fold: Callable[[Float[np.ndarray, "items d"]], None] | None = None,
) -> SplitPredictions:
    """Run the network over chunks on the devices (padding is dropped).

    The loss is the mean over the items that have a target; NaN if none has.  If `fold` is given, it takes each chunk's
    penultimate vectors, in order, which the result then does not have: those of all items may be gigabytes.
    """
    losses, weights, rows = [], [], []
    program = _program(mesh)
    started = (program(variables, chunk, constants, network, mesh, embed) for chunk in chunks)
    for found, labels, mask in map(jax.device_get, _one_ahead(started)):
        real = mask > 0
        losses.append(found.loss_sum)
        weights.append(found.weight)
        if fold is not None:
            fold(found.embedding[real])
        rows.append((found.scores[real], labels[real], found.embedding[..., : None if fold is None else 0][real]))
    total = np.concatenate(weights).sum(dtype=np.float64)
    loss = float(np.concatenate(losses).sum(dtype=np.float64) / total) if total else float("nan")
    return SplitPredictions(loss, *map(np.concatenate, zip(*rows, strict=True)))


@cache
def _program(mesh: Mesh) -> Any:
    """Return `_predict_chunk`, jitted for the devices of this mesh."""
    options = compiler_options(mesh.devices.flat[0])
    return jax.jit(_predict_chunk, static_argnames=("network", "mesh", "embed"), compiler_options=options)


def _predict_chunk(
    variables: Any, chunk: Batch, constants: Constants, network: Network, mesh: Mesh, embed: bool
) -> tuple[Predictions, Array, Array]:
    """Return (predictions, labels, mask) of a chunk [steps, items, …], whole on every device for all processes."""
    n_devices = mesh.size

    def of_one_device(variables: Any, chunk: Batch, constants: Constants) -> Predictions:
        found = lax.map(lambda batch: predict_step(variables, batch, constants, network), chunk)
        if n_devices > 1:
            loss_sum, weight = lax.psum((found.loss_sum, found.weight), devices.AXIS)
            found = found._replace(loss_sum=loss_sum, weight=weight)
        return found if embed else found._replace(embedding=found.embedding[..., :0])

    run = of_one_device
    if n_devices > 1:
        parts: Any = (devices.WHOLE, devices.WHOLE, devices.SPLIT, devices.SPLIT)
        given = (devices.WHOLE, devices.SPLIT, devices.WHOLE)
        run = devices.on_each_device(of_one_device, mesh, in_specs=given, out_specs=Predictions(*parts))
    results = (run(variables, chunk, constants), chunk.labels, chunk.mask)
    return lax.with_sharding_constraint(results, devices.replicated(mesh))


def _one_ahead(results: Iterator[Any]) -> Iterator[Any]:
    """Yield each result after the next one has been dispatched."""
    before = next(results, None)
    for result in results:
        yield before
        before = result
    if before is not None:
        yield before
