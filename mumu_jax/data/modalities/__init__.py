"""The registry of modalities: the kinds of prepared data, and with fusion's vectors the kinds of network inputs."""

from typing import Any

from mumu_jax.data.modalities.audio import Audio
from mumu_jax.data.modalities.base import Modality, PreparedModality
from mumu_jax.data.modalities.descriptors import Descriptors
from mumu_jax.data.modalities.image import Image
from mumu_jax.data.modalities.lyrics import Lyrics
from mumu_jax.data.modalities.mel import Mel
from mumu_jax.data.modalities.text import Text
from mumu_jax.data.modalities.timbre import Timbre
from mumu_jax.data.modalities.vectors import Vectors

MODALITIES: dict[str, PreparedModality] = {
    one.name: one for one in (Audio(), Mel(), Descriptors(), Text(), Lyrics(), Timbre(), Image())
}
BY_DEFAULT = tuple(name for name, one in MODALITIES.items() if one.by_default)
NETWORK_INPUTS: dict[str, Modality] = {**MODALITIES, Vectors.name: Vectors()}


def modality_of(settings: Any) -> PreparedModality:
    """Return the modality that has settings of this type."""
    return next(one for one in MODALITIES.values() if one.settings is type(settings))
