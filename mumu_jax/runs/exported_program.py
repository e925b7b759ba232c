"""The program of an export: StableHLO for all platforms, of any number of items, and the arrays that it takes."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import export, lax

from mumu_jax.batch import Sparse
from mumu_jax.compute.network import Constants, Network, Standardisation, apply, see
from mumu_jax.models.kernels.backend import traced_for
from mumu_jax.models.kernels.sparse import densify
from mumu_jax.runs.folder import Trained

PLATFORMS = ("cpu", "cuda", "tpu")

# The number of items that a CPU scores together.  Measured: one by one, HIGH-4x96 takes twice as long, because all
# weights are read for each item; in groups of this size, programs are about as fast as the run itself.
GROUP = 8

Arrays = tuple[Any, ...]  # each [items, …]


def program_of(network: Network, trained: Trained, item: Mapping[str, Any]) -> export.Exported:
    """Export (weights, arrays of the inputs …) → (readable scores [items, labels], penultimate vectors [items, d]).

    The program takes any number of items; sparse rows may have any number of values, too.  It has two parts, because
    convolutions that are fast on accelerators take up to four times as long on a CPU as those for it.  Networks see
    batches of a known size in both: accelerators map one item over the batch, and a CPU goes through it in groups.
    """
    items, values = export.symbolic_shape("items, values")

    def of_items(part: Any) -> Any:
        """Return the shapes of a modality's arrays."""
        sparse = isinstance(part, Sparse)
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct((items, values) if sparse else (items, *leaf.shape), leaf.dtype), part
        )

    inputs, structure = jax.tree.flatten({name: of_items(part) for name, part in item.items()})
    weights = jax.eval_shape(lambda: weights_of(trained))

    def score(weights: dict[str, Any], *inputs: Any) -> Arrays:
        variables: dict[str, Any] = unflatten_dict(weights, sep="/")
        constants = _constants_from(variables.pop("constants"), trained.constants)
        arrays = jax.tree.unflatten(structure, inputs)
        # The sparse product's loop would need to know the number of values.
        dense = {
            name: densify(part, part.n_columns) if isinstance(part, Sparse) else part for name, part in arrays.items()
        }
        output, embedding = apply(network, variables, see(network, dense, constants), constants)
        scores = network.objective.scores(output, constants.fitted)
        return network.objective.readable(scores), embedding

    def on_accelerators(weights: dict[str, Any], *inputs: Any) -> Arrays:
        def of_one(*inputs: Any) -> Arrays:
            return jax.tree.map(lambda leaf: leaf[0], score(weights, *(array[None] for array in inputs)))

        with traced_for("gpu"):  # a TPU runs it, too: a third part would make programs larger
            return jax.vmap(of_one)(*inputs)

    def on_a_cpu(weights: dict[str, Any], *inputs: Any) -> Arrays:
        with traced_for("cpu"):
            return _in_groups(partial(score, weights), inputs)

    program = jax.jit(partial(lax.platform_dependent, cpu=on_a_cpu, default=on_accelerators))
    with _without_locations():
        return export.export(program, platforms=PLATFORMS)(weights, *inputs)


def _in_groups(score: Callable[..., Arrays], inputs: Arrays) -> Arrays:
    """Apply `score` to groups of the items, whose number is symbolic, and one by one to those that are left."""
    n_items = inputs[0].shape[0]
    # JAX refuses to cut a group from an array whose symbolic length may be smaller.
    padded = [jnp.concatenate([array, jnp.zeros((GROUP, *array.shape[1:]), array.dtype)]) for array in inputs]

    def score_from(low: Any, size: int, results: Arrays) -> Arrays:
        part = score(*(lax.dynamic_slice_in_dim(array, low, size) for array in padded))
        pairs = zip(results, part, strict=True)
        return tuple(lax.dynamic_update_slice_in_dim(whole, rows, low, 0) for whole, rows in pairs)

    shapes = jax.eval_shape(score, *(jax.ShapeDtypeStruct((1, *array.shape[1:]), array.dtype) for array in inputs))
    results = tuple(jnp.zeros((n_items + GROUP, *shape.shape[1:]), shape.dtype) for shape in shapes)
    n_groups = n_items // GROUP
    results = lax.fori_loop(0, n_groups, lambda i, before: score_from(i * GROUP, GROUP, before), results)
    results = lax.fori_loop(n_groups * GROUP, n_items, lambda i, before: score_from(i, 1, before), results)
    return tuple(array[:n_items] for array in results)


@contextmanager
def _without_locations() -> Iterator[None]:
    """Leave the paths of the source files on this machine out of programs."""
    option = "jax_traceback_in_locations_limit"
    before = getattr(jax.config, option)
    jax.config.update(option, 0)
    try:
        yield
    finally:
        jax.config.update(option, before)


def weights_of(trained: Trained) -> dict[str, np.ndarray]:
    """Return everything that a program needs beside its input, by name: params/…, batch_stats/…, constants/…"""
    constants = trained.constants
    inputs = {name: {"mean": one.mean, "std": one.std} for name, one in constants.inputs.items()}
    tree = {**trained.variables, "constants": {"inputs": inputs, **constants.fitted}}
    return {name: _stored(np.asarray(leaf)) for name, leaf in flatten_dict(tree, sep="/").items()}


def _stored(leaf: np.ndarray) -> np.ndarray:
    """Return an array as an export has it: numbers as float32, indices as they are."""
    return np.asarray(leaf, leaf.dtype if np.issubdtype(leaf.dtype, np.integer) else np.float32, order="C")


def _constants_from(tree: dict[str, Any], like: Constants) -> Constants:
    """Return the constants in a tree of `weights_of`."""
    inputs = {name: Standardisation(**one) for name, one in tree["inputs"].items()}
    return Constants(inputs, {name: tree[name] for name in like.fitted})
