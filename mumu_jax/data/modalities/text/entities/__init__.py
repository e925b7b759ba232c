"""The encyclopaedia's entities that a text names, and their categories, which VSM+SEM reads as further words."""

from mumu_jax.data.modalities.text.entities.gazetteer import write_gazetteer
from mumu_jax.data.modalities.text.entities.linker import Gazetteer, categories_of, gazetteer_of
from mumu_jax.data.modalities.text.entities.mentions import Mention

__all__ = ["Gazetteer", "Mention", "categories_of", "gazetteer_of", "write_gazetteer"]
