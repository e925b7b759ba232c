"""The registry of modalities: the kinds of prepared data that there are."""

from typing import Any

from mumu_jax.data.modalities import audio, image, text, timbre
from mumu_jax.data.modalities.base import Modality

MODALITIES: dict[str, Modality] = {one.MODALITY.name: one.MODALITY for one in (audio, text, timbre, image)}


def modality_of(settings: Any) -> Modality:
    """The one that these are settings of."""
    return next(one for one in MODALITIES.values() if one.settings is type(settings))
