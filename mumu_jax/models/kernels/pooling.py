"""Max-pooling without overlap that records the place of each maximum, so that its gradient reads no activation again.

The gradient goes to exactly one element of each window: if several are largest, to the first in the order of (frame,
bin); in bfloat16, 0 is larger than −0.  The place is one byte a window of at most 255 elements.

JAX's own gradient of a maximum looks for the elements that equal it.  XLA may compute these twice, in two fusions that
round differently, and then none is equal, or a wrong one: gradients are lost, or divided by zero.
"""

from collections.abc import Sequence
from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Integer, UInt8

from mumu_jax.models.kernels.backend import stored

Window = tuple[int, int]  # frames × bins

# The n × m polyphase components of y [items, frames, bins, c]: phases[i][j] is y[:, i::n, j::m].
# Fast convolutions yield their outputs in this form; putting them in order would cost a pass over all of them.
Phases = tuple[tuple[Float[Array, "items frames bins c"], ...], ...]

MOST_IN_A_BYTE = 255  # elements of a window whose places fit, beside 255 itself for none of them


def in_order(phases: Phases) -> Float[Array, "items all_frames all_bins c"]:
    """Return the array of which these are the polyphase components."""
    y = jnp.stack([jnp.stack(row, axis=3) for row in phases], axis=2)
    n_items, frames, n, bins, m, channels = y.shape
    return y.reshape(n_items, frames * n, bins * m, channels)


def max_pool_tiles(x: Float[Array, "items frames bins c"], tile: Window) -> Float[Array, "items t f c"]:
    """Return the largest value of each tile; what is left over at the end is dropped."""
    (frames, bins), (pt, pf) = x.shape[1:3], tile
    return _pool(x[:, : frames // pt * pt, : bins // pf * pf], tile)


def largest(x: Float[Array, "items frames bins c"]) -> Float[Array, "items c"]:
    """Return the largest value over frames and bins."""
    _, frames, bins, _ = x.shape
    return max_pool_tiles(x, (frames, bins))[:, 0, 0]


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _pool(x: Array, tile: Window) -> Array:
    return _windows(x, tile).max((2, 4))


def _pool_forward(x: Array, tile: Window) -> tuple[Array, Array]:
    """Return the pool, and the places for its gradient.

    What each element of a window is compared with is computed once: by itself, XLA may do so for every one of them.
    """
    x, n_elements = stored(x), tile[0] * tile[1]
    if n_elements <= MOST_IN_A_BYTE:
        y, place = max_and_place([((x,),)], tile)
        return y, lax.optimization_barrier(place)
    windows = jnp.moveaxis(_windows(x, tile), 2, 3)  # [items, t, f, frames of a tile, bins of a tile, c]
    place = jnp.argmax(windows.reshape(*windows.shape[:3], n_elements, -1), axis=3)
    return _windows(x, tile).max((2, 4)), lax.optimization_barrier(place)


def _pool_backward(tile: Window, place: Array, g: Array) -> tuple[Array]:
    return (unpool(lax.optimization_barrier(g), place, tile, (1, 1))[0][0],)


def _windows(x: Array, tile: Window) -> Array:
    """Return [items, t, frames of a tile, f, bins of a tile, c]."""
    (items, frames, bins, channels), (pt, pf) = x.shape, tile
    return x.reshape(items, frames // pt, pt, bins // pf, pf, channels)


_pool.defvjp(_pool_forward, _pool_backward)


def max_and_place(
    pieces: Sequence[Phases], window: Window
) -> tuple[Float[Array, "items t f c"], UInt8[Array, "items t f c"]]:
    """Return each window's maximum, and the place where it first occurs: frame · (bins of a window) + bin.

    The pieces cover the bins in order; their numbers of phases divide the window's.
    """
    parts = [_elements(phases, window) for phases in pieces]
    if parts[0][0].dtype == jnp.bfloat16 and window != (1, 1):  # (1, 1) has nothing to compare
        return _unpack(jnp.concatenate([_packed_max(elements) for elements in parts], axis=2))
    pools = [_max_and_place(elements) for elements in parts]
    if len(pools) == 1:
        return pools[0]
    # Stored: a piece's values leave the cache before those of the next one are computed.
    largest, place = zip(*((stored(value), stored(number)) for value, number in pools), strict=True)
    return jnp.concatenate(largest, axis=2), jnp.concatenate(place, axis=2)


def unpool(
    g: Float[Array, "items t f c"], place: Integer[Array, "items t f c"], window: Window, counts: tuple[int, int]
) -> Phases:
    """Return the pool's gradient: `g` at each window's `place`, zero elsewhere (or everywhere, if `place` is outside).

    `counts` are the numbers of phases of frames and of bins to return.
    """
    (pt, pf), (n, m), (items, t, f, channels) = window, counts, g.shape
    numbers = jnp.arange(pt * pf, dtype=place.dtype).reshape(pt, 1, pf, 1)

    def phase(i: int, j: int):
        y = jnp.where(place[:, :, None, :, None] == numbers[i::n, :, j::m], g[:, :, None, :, None], 0)
        return y.reshape(items, t * (pt // n), f * (pf // m), channels)

    return tuple(tuple(phase(i, j) for j in range(m)) for i in range(n))


def _elements(phases: Phases, window: Window) -> list[Float[Array, "items t f c"]]:
    """Return an array for each element of the windows: they fuse into one pass with an inner loop over the channels."""
    (pt, pf), (n, m) = window, (len(phases), len(phases[0]))
    items, frames, bins, channels = phases[0][0].shape
    cut = (items, frames * n // pt, pt // n, bins * m // pf, pf // m, channels)
    windows = [[phase.reshape(cut) for phase in row] for row in phases]
    return [windows[i % n][j % m][:, :, i // n, :, j // m] for i, j in product(range(pt), range(pf))]


def _max_and_place(elements):
    """Return the largest of one piece's elements, and its number, by a tournament.

    One element after the other would be slow for many: in one pass, XLA for CPUs computes the largest of those before
    anew for each.
    """
    rounds = [(element, jnp.full(element.shape, number, jnp.uint8)) for number, element in enumerate(elements)]
    while len(rounds) > 1:
        pairs = zip(rounds[0::2], rounds[1::2], strict=False)
        rounds = [*(_larger(*pair) for pair in pairs), *(rounds[-1:] if len(rounds) % 2 else ())]
    return rounds[0]


def _larger(first, second):
    """Return the larger value with its number; of equal ones the first."""
    (value, place), (other, other_place) = first, second
    return jnp.maximum(value, other), jnp.where(other > value, other_place, place)


def _packed_max(elements):
    """Return the largest bfloat16 element and its number as one integer: the value above, 255 − the number below.

    One maximum finds both, so that the elements are read once; for two results, XLA makes two passes on a GPU if pieces
    are joined.
    """
    packed = [(_ordered(element).astype(jnp.int32) << 16) + (255 - number) for number, element in enumerate(elements)]
    largest = packed[0]
    for element in packed[1:]:
        largest = jnp.maximum(largest, element)
    return largest


def _unpack(packed):
    bits = _inverted_where_negative((packed >> 16).astype(jnp.int16))
    return lax.bitcast_convert_type(bits, jnp.bfloat16), (255 - (packed & 255)).astype(jnp.uint8)


def _ordered(x):
    """Return integers that sort like these bfloat16 values, any NaN above all others."""
    bits = _inverted_where_negative(lax.bitcast_convert_type(x, jnp.int16))
    return jnp.where(jnp.isnan(x), jnp.int16(0x7FFF), bits)


def _inverted_where_negative(bits):
    """Invert all bits but the sign of negative numbers; this is its own inverse."""
    return jnp.where(bits < 0, bits ^ 0x7FFF, bits)
