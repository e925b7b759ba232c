"""Mel spectrograms for host and devices: published settings, and the compression from stored to seen values."""

from typing import Any, NamedTuple

from mumu_jax.config import MelSettings

WON = MelSettings(scale="htk", norm="peak", level="db", patch_frames=188)
PRESETS = {
    "musicnn": MelSettings(),  # Pons & Serra 2019
    "won": WON,  # Won et al. 2020: FCN, CRNN and musicnn; FCN and CRNN see patches of 1,813 frames
    "won128": MelSettings(scale="htk", norm="peak", level="db", n_bins=128, patch_frames=231),  # their short-chunk CNNs
    # Choi et al. 2017; their published weights saw a level that was squared once more
    "choi": MelSettings(sr_hz=12_000, fmax_hz=6000.0, level="db_max", floor_db=-80.0, patch_frames=1366),
    "ru": MelSettings(  # Ru et al. 2023; n_fft, range and level are not published
        sr_hz=22_050,
        n_fft=2048,
        hop_length=512,
        n_bins=128,
        fmax_hz=11_025.0,
        level="db_max",
        floor_db=-80.0,
        patch_frames=1292,
    ),
}


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
