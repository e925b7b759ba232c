"""What a run's first network sees: a modality's records as items, and what of the training data that takes."""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mumu_jax.atomic import replacing
from mumu_jax.batch import Sparse
from mumu_jax.config import Config
from mumu_jax.data.loader import Items, array_items, multi_hot, patch_item, patch_items
from mumu_jax.data.modalities import MODALITIES
from mumu_jax.data.modalities.text import GAZETTEER
from mumu_jax.data.modalities.timbre import N_VALUES
from mumu_jax.data.modality import Modality
from mumu_jax.data.store import Prepared, Records
from mumu_jax.data.tfidf import Tfidf, fit_tfidf, load_tfidf

VOCABULARY = "vocabulary.json"


@dataclass(frozen=True)
class Inputs:
    """How records become items; `tfidf` and `gazetteer` are a text run's."""

    config: Config
    tfidf: Tfidf | None = None
    gazetteer: Path | None = None

    @property
    def modality(self) -> Modality:
        return MODALITIES[self.config.modality]

    @property
    def n_terms(self) -> int | None:
        return self.tfidf and len(self.tfidf.terms)

    def items(self, records: Records, n_labels: int, patch: str = "fixed") -> Items:
        """A split's records in their order; `patch` is for audio: one patch a track, or `random` ones."""
        if self.config.modality == "audio":
            return patch_items(records, n_labels, self.config.audio, patch)
        found = list(records)
        labels = np.array([multi_hot(record["labels"], n_labels) for record in found]).reshape(-1, n_labels)
        return array_items(self.arrays(found), labels)

    def arrays(self, records: Iterable[dict[str, Any]]) -> Any:
        """[n, …] of records that are held in memory: texts, timbre, the patches of a song."""
        if self.tfidf is not None:
            return self.tfidf.transform(records)
        if self.config.modality == "audio":
            return np.stack([record["patch"] for record in records])
        return np.array([record["timbre"] for record in records], np.float32).reshape(-1, N_VALUES)

    def save(self, workdir: Path) -> None:
        """What `load_inputs` needs, into the run's folder."""
        if self.tfidf is not None:
            self.tfidf.save(workdir / VOCABULARY)
        if self.gazetteer is not None:
            with replacing(workdir / GAZETTEER) as path:
                shutil.copyfile(self.gazetteer, path)


def fit_inputs(config: Config, prepared: Prepared) -> Inputs:
    """Of the training split."""
    if config.modality != "text":
        return Inputs(config)
    gazetteer = prepared.folder / GAZETTEER
    kept = gazetteer if config.tfidf.categories and gazetteer.exists() else None
    return Inputs(config, fit_tfidf(prepared.split("train"), config.tfidf), kept)


def load_inputs(config: Config, workdir: Path) -> Inputs:
    """As `Inputs.save` left them."""
    if config.modality != "text":
        return Inputs(config)
    gazetteer = workdir / GAZETTEER
    return Inputs(config, load_tfidf(workdir / VOCABULARY), gazetteer if gazetteer.exists() else None)


def item_of(config: Config) -> Any:
    """The shape and dtype of an item's input, as a tree of `jax.ShapeDtypeStruct`."""
    if config.modality == "audio":
        return patch_item(config.audio)
    if config.modality == "timbre":
        return jax.ShapeDtypeStruct((N_VALUES,), np.dtype(np.float32))
    shapes = (jax.ShapeDtypeStruct((1,), np.dtype(dtype)) for dtype in (np.int32, np.float32))
    return Sparse(*shapes)
