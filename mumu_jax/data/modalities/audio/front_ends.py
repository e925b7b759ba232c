"""The registry of audio front ends: what turns samples into frames of bins, by the name `audio.front_end` gives."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from mumu_jax.config import AudioSettings
from mumu_jax.data.modalities.audio.cqt import banks_of, cqt_power
from mumu_jax.errors import UserError


class FrontEnd(NamedTuple):
    """A time-frequency transform.

    `power` returns its power [frames, n_bins], a frame each `hop_length` samples of mono audio at `sr_hz`; `check`
    raises UserError on settings that it cannot use; `describe` names it and what its bins are, in words.
    """

    power: Callable[[Float32[np.ndarray, " samples"], AudioSettings], Float32[np.ndarray, "frames bins"]]
    check: Callable[[AudioSettings], object]
    describe: Callable[[AudioSettings], str]


def _describe_cqt(settings: AudioSettings) -> str:
    return (
        f"the constant-Q transform of mono audio at {settings.sr_hz:,} Hz, a frame each {settings.hop_length:,} "
        f"samples, {settings.n_bins} bins, {settings.bins_per_octave} an octave, from {settings.fmin_hz:.2f} Hz"
    )


FRONT_ENDS = {"cqt": FrontEnd(cqt_power, banks_of, _describe_cqt)}


def front_end_of(settings: AudioSettings) -> FrontEnd:
    """Return the front end that `settings` name; raises UserError if there is none of that name."""
    if settings.front_end not in FRONT_ENDS:
        known = ", ".join(map(repr, FRONT_ENDS))
        raise UserError(f"audio.front_end is {settings.front_end!r}; choose one of {known}")
    return FRONT_ENDS[settings.front_end]
