"""Work on a batch in chunks of items that stay in fast memory: a CPU's cache, or a TPU's vector memory."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Shaped


def items_a_chunk(n_items: int, item_bytes: int, most_bytes: float) -> int:
    """Return the most items, a divisor of all, that together have no more than so many bytes; one if none does."""
    return max(n for n in divisors(n_items) if n == 1 or n * item_bytes <= most_bytes)


def divisors(n: int) -> list[int]:
    """Return the divisors of `n`, in order."""
    return [divisor for divisor in range(1, n + 1) if n % divisor == 0]


def parts_of(n: int, most: int) -> tuple[int, int]:
    """Return the least number of parts of up to `most` (but at least 1), and their size; the last part may be smaller.

    They are nearly equal: seven in parts of up to five are four and three.
    """
    n_parts = -(-n // max(1, most))
    size = -(-n // n_parts)
    return -(-n // size), size


def cut_to_pieces(x: Shaped[Array, "items n *rest"], size: int, overlap: int) -> Shaped[Array, "pieces m *rest"]:
    """Cut each item along its first axis into pieces of `size + overlap`, which begin at every `size`-th place.

    `size` divides the axis's length minus `overlap`.
    """
    starts = range(0, x.shape[1] - overlap, size)
    pieces = jnp.stack([x[:, start : start + size + overlap] for start in starts], axis=1)
    return pieces.reshape(-1, *pieces.shape[2:])


def over_chunks(body: Any, carry: Any, items: Any, size: int) -> tuple[Any, Any]:
    """Scan `body` over chunks of the items, in order; call it once, without a loop, if one chunk holds all of them."""
    n_items = len(jax.tree.leaves(items)[0])
    if n_items == size:
        return body(carry, items)
    chunks = jax.tree.map(lambda leaf: leaf.reshape(-1, size, *leaf.shape[1:]), items)
    carry, out = lax.scan(body, carry, chunks)
    return carry, jax.tree.map(lambda leaf: leaf.reshape(n_items, *leaf.shape[2:]), out)
