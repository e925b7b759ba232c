"""Max-pooling without overlap that keeps where each maximum was, so that its gradient reads no activation again.

The gradient goes to exactly one element of each window: where several are largest, to the first in the order of
(frame, bin).  The place is one byte a window, so a window holds at most 255 elements.
"""

from itertools import product

import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

Window = tuple[int, int]  # frames × bins


def max_and_place(
    y: Float[Array, "items frames bins c"], window: Window
) -> tuple[Float[Array, "items t f c"], UInt8[Array, "items t f c"]]:
    """Each window's maximum, and where it first occurs: frame · (bins of a window) + bin."""
    (pt, pf), (items, frames, bins, channels) = window, y.shape
    y = y.reshape(items, frames // pt, pt, bins // pf, pf, channels)
    # Element by element, because that fuses into one pass whose inner loop runs over the channels.
    elements = [y[:, :, i, :, j] for i, j in product(range(pt), range(pf))]
    largest, place = elements[0], jnp.zeros(elements[0].shape, jnp.uint8)
    for n, element in enumerate(elements[1:], start=1):
        place = jnp.where(element > largest, jnp.uint8(n), place)
        largest = jnp.maximum(largest, element)
    return largest, place


def unpool(
    g: Float[Array, "items t f c"], place: UInt8[Array, "items t f c"], window: Window
) -> Float[Array, "items frames bins c"]:
    """The pool's gradient: `g` at each window's `place`, zero elsewhere (everywhere, if no element has that place)."""
    (pt, pf), (items, t, f, channels) = window, g.shape
    places = jnp.arange(pt * pf, dtype=jnp.uint8).reshape(pt, 1, pf, 1)
    y = jnp.where(place[:, :, None, :, None] == places, g[:, :, None, :, None], 0)
    return y.reshape(items, t * pt, f * pf, channels)
