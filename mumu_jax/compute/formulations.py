"""Formulations of a network's convolutions, chosen by measurement on this process's first device.

A candidate is timed as training runs it: forward and backward, inside a loop on the device, on a batch of one device.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mumu_jax.compute.compiler_options import compiler_options
from mumu_jax.compute.network import Network
from mumu_jax.compute.state import abstract_variables
from mumu_jax.errors import reason_of
from mumu_jax.models.kernels.backend import backend
from mumu_jax.models.kernels.conv_pool import conv_pool
from mumu_jax.models.kernels.formulations import FIXED, Choose, Convolution, candidates

BUDGET_S = 8.0  # for all convolutions; what is under way then, such as a compilation, may take two more
# The candidates take turns, one short measurement each: until the most turns are done, or the least and TURNS_S.
LEAST_TURNS, MOST_TURNS, TURNS_S, TURN_S = 4, 15, 0.5, 0.002
# After the first turns, a candidate has no more if it takes so many times as long as the fastest one.
FIRST_TURNS, HOPELESS = 2, 1.5
# Another formulation than the fixed table's is chosen if its shortest time is at most this share of the fixed one's,
# and shorter in so many of the turns: other programs may run beside, and what is not sure is not worth a change.
WORTHWHILE, WINS = 0.97, 0.8
# On a CPU, which works through a batch piece by piece, a step of so many products suffices.  Fewer would favour those
# formulations that transform the kernel least, because that is done once a step.
PRODUCTS_A_STEP = 2 * 10**10

Seconds = Callable[[], float]


class Timed(NamedTuple):
    """The formulation that is chosen for a convolution, and the milliseconds of a step in each candidate.

    They are the shortest of several; a candidate that does not compile or needs too much memory has the reason instead.
    """

    chosen: str
    milliseconds: Mapping[str, float | str]

    @property
    def reasons(self) -> dict[str, str]:
        """Return why candidates could not be computed, by their names."""
        return {name: found for name, found in self.milliseconds.items() if isinstance(found, str)}


def with_formulations(network: Network, choose: Choose) -> Network:
    """Return the network with its convolutions computed as `choose` says; without such convolutions, as it is."""
    if not hasattr(network.model, "formulations"):
        return network
    return network._replace(model=network.model.clone(formulations=choose))


def convolutions_of(network: Network, item: Any) -> list[Convolution]:
    """Return the convolutions that are computed for inputs of the shapes and dtypes of `item`, each once."""
    found: list[Convolution] = []

    def record(backend: str, n_items: int, convolution: Convolution) -> str:
        found.append(convolution)
        return FIXED(backend, n_items, convolution)

    abstract_variables(with_formulations(network, record), item)
    return list(dict.fromkeys(found))


def most_work_first(convolutions: Sequence[Convolution]) -> list[Convolution]:
    """Return the convolutions in the order in which a budget should be spent on them."""
    return sorted(convolutions, key=_n_products, reverse=True)


def items_to_time(convolution: Convolution, n_items: int) -> int:
    """Return the number of items in a step that is timed, for training in batches of `n_items`."""
    if backend() != "cpu":
        return n_items
    return min(n_items, max(1, PRODUCTS_A_STEP // _n_products(convolution)))


def time_candidates(
    convolution: Convolution,
    n_items: int,
    is_over: Callable[[], bool] = lambda: False,
    clock: Seconds = time.perf_counter,
    backward: bool = True,
    hopeless: float = HOPELESS,
) -> Timed | None:
    """Time all candidates for training in batches of `n_items`; return None if time is over before that is done.

    Without `backward`, a step is the layer alone; with it, also its gradients (of the first layer's input, none).
    A candidate that takes `hopeless` times as long as the fastest one has few turns, and so a coarse time.
    """
    names, fixed = sorted(candidates(backend(), convolution)), FIXED(backend(), n_items, convolution)
    arguments: tuple[Any, Any, Any] | None = None
    runs: dict[str, Callable[[int], float]] = {}
    turns: dict[str, list[float]] = {}
    reasons: dict[str, str] = {}
    for name in names:
        if is_over():
            return None
        try:
            arguments = arguments or _arguments(convolution, items_to_time(convolution, n_items))
            run = _compiled(convolution, name, backward, arguments, clock)
            run(1)
        except jax.errors.JaxRuntimeError as error:  # the compiler's, or no memory is left
            reasons[name] = reason_of(error)
            continue
        runs[name], turns[name] = run, []
    if not runs:
        return Timed(fixed, reasons)
    start = clock()
    for turn in range(MOST_TURNS):
        if turn >= LEAST_TURNS and clock() - start > TURNS_S:
            break
        for name in [*runs]:
            if is_over():
                return None
            n_steps = max(1, round(TURN_S / min(turns[name]))) if turns[name] else 1
            turns[name].append(runs[name](n_steps))
        if turn + 1 >= FIRST_TURNS:
            least = min(map(min, turns.values()))
            runs = {name: run for name, run in runs.items() if name == fixed or min(turns[name]) <= hopeless * least}
    return Timed(choose(turns, fixed), reasons | {name: 1e3 * min(seconds) for name, seconds in turns.items()})


def choose(turns: Mapping[str, Sequence[float]], fixed: str) -> str:
    """Return the fastest formulation by the seconds of each turn; `fixed` unless another one is surely faster."""
    least = {name: min(seconds) for name, seconds in turns.items()}
    if fixed not in turns:
        return min(least, key=lambda name: least[name], default=fixed)
    n_turns = len(turns[fixed])

    def is_faster(name: str) -> bool:
        n_wins = sum(ours < theirs for ours, theirs in zip(turns[name], turns[fixed], strict=False))
        return n_wins >= WINS * n_turns and least[name] <= WORTHWHILE * least[fixed]

    return min(filter(is_faster, turns), key=lambda name: least[name], default=fixed)


def _n_products(convolution: Convolution) -> int:
    kt, kf, _, _ = convolution.kernel_shape
    n_frames, n_bins, _ = convolution.item_shape
    return (n_frames - kt + 1) * (n_bins - kf + 1) * prod(convolution.kernel_shape)


def _arguments(convolution: Convolution, n_items: int) -> tuple[Any, Any, Any]:
    """Return an input, a kernel and a bias: noise around zero."""
    noise = np.random.default_rng(0).random(2**16, np.float32) - 0.5
    kernel_shape, shape = convolution.kernel_shape, (n_items, *convolution.item_shape)
    x = jnp.asarray(np.resize(noise, shape), convolution.dtype)
    return x, jnp.asarray(np.resize(noise, kernel_shape)), jnp.asarray(np.resize(noise, kernel_shape[3:]))


def _compiled(
    convolution: Convolution, name: str, backward: bool, arguments: tuple[Any, Any, Any], clock: Seconds
) -> Callable[[int], float]:
    """Compile steps in the formulation `name`; return a function of their number to the seconds of one of them."""
    lowered = jax.jit(partial(_steps, convolution, name, backward)).lower(np.int32(0), *arguments)
    steps: Any = lowered.compile(compiler_options(jax.devices()[0]))

    def run(n_steps: int) -> float:
        start = clock()
        jax.block_until_ready(steps(np.int32(n_steps), *arguments))
        return (clock() - start) / n_steps

    return run


def _steps(convolution: Convolution, name: str, backward: bool, n_steps: Any, x: Any, kernel: Any, bias: Any) -> Any:
    """Take steps one after the other, as training does: each reads what the one before has written."""

    def layer(x: Any, kernel: Any, bias: Any) -> Any:
        return conv_pool(x, kernel, bias, convolution.pool, "valid", lambda *_: name)

    def step(_: Any, carry: Any) -> Any:
        # Without the barrier, what is alike in all steps is taken out of the loop.
        x, kernel, bias = lax.optimization_barrier(carry[:3])
        if not backward:
            y = layer(x, kernel, bias)
            return x, kernel, bias + 0 * y[0, 0, 0], y
        if convolution.kernel_shape[2] > 1:
            y, pull = jax.vjp(layer, x, kernel, bias)
            dx, dkernel, dbias = pull(y)
        else:  # the first layer: nothing would read its input's gradient
            y, pull = jax.vjp(partial(layer, x), kernel, bias)
            dx, (dkernel, dbias) = y, pull(y)
        return x, kernel - 0 * dkernel, bias - 0 * dbias, dx

    last = jax.eval_shape(step, 0, (x, kernel, bias, None))[3]
    return lax.fori_loop(0, n_steps, step, (x, kernel, bias, jnp.zeros(last.shape, last.dtype)))
