"""The compression of mel spectrograms: from what is stored to what networks see, on the host and on the devices."""

from typing import Any, NamedTuple


class Compression(NamedTuple):
    """A function of stored values, by the name in `config.mel.level`.

    `power` and `log10000` are of power, which is stored as it is; `db` and `db_max` of its square root, whose range
    float16 holds.
    """

    level: str
    floor_db: float

    def __call__(self, stored: Any, xp: Any) -> Any:
        """Return float32 values of the float32 array `stored`; `xp` is NumPy or jax.numpy."""
        if self.level == "power":
            return stored
        if self.level == "log10000":  # musicnn's; float16 would overflow here
            return xp.log10(xp.float32(10_000) * stored + xp.float32(1))
        return xp.float32(20) * xp.log10(xp.maximum(stored, xp.float32(10 ** (self.floor_db / 20))))
