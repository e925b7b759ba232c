"""A sound file that is open to be decoded, whichever library does it, and the check that all of it was."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

from jaxtyping import Float32
from numpy import ndarray

from mumu_jax.data.manifest import Rejected

TRUNCATED_S = 0.5  # a file may decode this much shorter than it declares: encoders pad, and headers round
# A header that declares more is damaged: believing it takes gigabytes for a file of kilobytes.
_MOST_CHANNELS, _LOWEST_SR_HZ, _HIGHEST_SR_HZ = 256, 1000, 1_000_000


@dataclass(frozen=True)
class Sound:
    """An open recording; leaving a `with` closes its file.

    `declared_s` are the seconds that it declares, 0 if it does not know.  `blocks` decodes it, some ten thousand
    samples at a time, and raises Rejected if it cannot.
    """

    file: AbstractContextManager
    sr_hz: int
    declared_s: float
    blocks: Iterator[Float32[ndarray, "samples channels"]]

    def __enter__(self) -> "Sound":
        return self

    def __exit__(self, *raised: object) -> None:
        self.file.__exit__(None, None, None)


def check_header(n_channels: int, sr_hz: int) -> None:
    """Raise Rejected on channels and a sample rate that no recording has."""
    if n_channels > _MOST_CHANNELS or not _LOWEST_SR_HZ <= sr_hz <= _HIGHEST_SR_HZ:
        raise Rejected("unreadable", f"its header declares {n_channels:,} channels of {sr_hz:,} Hz")


def check_length(decoded_s: float, declared_s: float, error: str = "") -> None:
    """Raise Rejected if less was decoded than the file declares; `error` is what the decoder said."""
    if decoded_s < declared_s - TRUNCATED_S:
        detail = f"decoded {decoded_s:.1f} s of the {declared_s:.1f} s that the file declares"
        raise Rejected("truncated", f"{detail} ({error})" if error else detail)
