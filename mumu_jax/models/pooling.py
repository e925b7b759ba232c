"""Max-pooling without overlap that keeps where each maximum was, so that its gradient reads no activation again.

The gradient goes to exactly one element of each window: where several are largest, to the first in the order of
(frame, bin).  The place is one byte a window, so a window holds at most 255 elements.
"""

from itertools import product

import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

Window = tuple[int, int]  # frames × bins

# The polyphase components of y [items, frames, bins, c]: phases[i][j] is y[:, i::n, j::m] where there are n × m.
# Fast convolutions yield their outputs so, and to put them in order would cost a pass over all of them.
Phases = tuple[tuple[Float[Array, "items frames bins c"], ...], ...]


def max_and_place(phases: Phases, window: Window) -> tuple[Float[Array, "items t f c"], UInt8[Array, "items t f c"]]:
    """Each window's maximum, and where it first occurs: frame · (bins of a window) + bin.

    The numbers of phases divide the window's.
    """
    (pt, pf), (n, m) = window, (len(phases), len(phases[0]))
    items, frames, bins, channels = phases[0][0].shape
    cut = (items, frames * n // pt, pt // n, bins * m // pf, pf // m, channels)
    windows = [[phase.reshape(cut) for phase in row] for row in phases]
    # Element by element, because that fuses into one pass whose inner loop runs over the channels.
    elements = [windows[i % n][j % m][:, :, i // n, :, j // m] for i, j in product(range(pt), range(pf))]
    largest, place = elements[0], jnp.zeros(elements[0].shape, jnp.uint8)
    for number, element in enumerate(elements[1:], start=1):
        place = jnp.where(element > largest, jnp.uint8(number), place)
        largest = jnp.maximum(largest, element)
    return largest, place


def unpool(
    g: Float[Array, "items t f c"], place: UInt8[Array, "items t f c"], window: Window, counts: tuple[int, int]
) -> Phases:
    """The pool's gradient: `g` at each window's `place`, zero elsewhere (everywhere, if no element has that place).

    In as many phases of frames and of bins as `counts` says.
    """
    (pt, pf), (n, m), (items, t, f, channels) = window, counts, g.shape
    numbers = jnp.arange(pt * pf, dtype=jnp.uint8).reshape(pt, 1, pf, 1)

    def phase(i: int, j: int):
        y = jnp.where(place[:, :, None, :, None] == numbers[i::n, :, j::m], g[:, :, None, :, None], 0)
        return y.reshape(items, t * (pt // n), f * (pf // m), channels)

    return tuple(tuple(phase(i, j) for j in range(m)) for i in range(n))
