"""The shortest patches of which the max-pools of a network leave something."""

from collections.abc import Sequence

from jaxtyping import Array, Float

from mumu_jax.errors import UserError
from mumu_jax.models.kernels.pooling import Window

Pool = tuple[Window, Window]  # window and stride, frames × bins


def check_not_empty(x: Array, patches: Float[Array, "items frames bins"], pools: Sequence[Pool]) -> Array:
    """Return `x`, which pools have made of `patches`.

    Raises UserError if nothing is left of it.
    """
    if 0 in x.shape:
        expected, found = (f"{frames:,} frames × {bins} bins" for frames, bins in (_least(pools), patches.shape[1:]))
        raise UserError(f"the network needs patches of at least {expected}, and these are of {found}; use longer ones")
    return x


def _least(pools: Sequence[Pool]) -> Window:
    """Return the fewest frames and bins of which something is left."""
    frames, bins = 1, 1
    for (high, wide), (down, across) in reversed(pools):
        frames, bins = (frames - 1) * down + high, (bins - 1) * across + wide
    return frames, bins
