"""What a run's first network sees: a modality's records as items, and what of the training data that takes."""

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mumu_jax.batch import Sparse
from mumu_jax.config import Config
from mumu_jax.data.loader import Items, array_items, image_item, image_items, multi_hot, patch_item, patch_items
from mumu_jax.data.modalities import MODALITIES
from mumu_jax.data.modalities.text import GAZETTEER
from mumu_jax.data.modalities.text.tfidf import CATEGORY, Tfidf, fit_tfidf, load_tfidf
from mumu_jax.data.modalities.timbre import N_VALUES
from mumu_jax.data.store.records import Dataset, Records
from mumu_jax.errors import UserError
from mumu_jax.runs.fusion import Fused, Source, read_kept
from mumu_jax.system.files import replacing

VOCABULARY = "vocabulary.json"
# The field of a record that is an item's input as it is.
STACKED = {"audio": "patch", "image": "image", "fusion": "vector"}
# Of the paper's best networks: HIGH-4x70, VSM+SEM and ResNet-101.
FEATURE_WIDTHS = {"audio": 4096, "text": 2048, "image": 2048}


@dataclass(frozen=True)
class Inputs:
    """How records become items; `tfidf` and `gazetteer` are a text run's, `sources` a fusion's runs by modality."""

    config: Config
    tfidf: Tfidf | None = None
    gazetteer: Path | None = None
    sources: dict[str, Source] | None = None

    @property
    def level(self) -> str:
        """What an item is: track or album."""
        return "album" if self.config.modality == "fusion" else MODALITIES[self.config.modality].item

    @property
    def widths(self) -> list[int]:
        """Of the vectors that a fusion joins."""
        return [source.width for source in (self.sources or {}).values()]

    @property
    def item(self) -> Any:
        """As `item_of`."""
        return item_of(self.config, self.widths)

    @property
    def n_terms(self) -> int | None:
        return self.tfidf and len(self.tfidf.terms)

    def items(self, records: Records, n_labels: int, patch: str = "fixed") -> Items:
        """A split's records in their order; `patch` is for audio: one patch a track, or `random` ones."""
        if self.config.modality == "audio":
            return patch_items(records, n_labels, self.config.audio, patch)
        if self.config.modality == "image":
            return image_items(records, n_labels, self.config.image)
        found = list(records)
        labels = np.array([multi_hot(record["labels"], n_labels) for record in found]).reshape(-1, n_labels)
        return array_items(self.arrays(found), labels)

    def arrays(self, records: Iterable[dict[str, Any]]) -> Any:
        """[n, …] of records that are held in memory: texts, timbre, a song's patches, a few images, joined vectors."""
        if self.tfidf is not None:
            return self.tfidf.transform(records)
        if self.config.modality in STACKED:
            return np.stack([record[STACKED[self.config.modality]] for record in records])
        return np.array([record["timbre"] for record in records], np.float32).reshape(-1, N_VALUES)

    def save(self, workdir: Path) -> None:
        """What `load_inputs` needs, into the run's folder."""
        if self.tfidf is not None:
            self.tfidf.save(workdir / VOCABULARY)
        (workdir / GAZETTEER).unlink(missing_ok=True)  # of a start that was killed before it was a run
        if self.gazetteer is not None:
            with replacing(workdir / GAZETTEER) as path:
                shutil.copyfile(self.gazetteer, path)


def fit_inputs(config: Config, prepared: Dataset) -> Inputs:
    """Of the training split.  Raises UserError where the texts have no term, or none of the kind asked for."""
    if isinstance(prepared, Fused):
        return Inputs(config, sources=prepared.sources)
    if config.modality != "text":
        return Inputs(config)
    tfidf = fit_tfidf(prepared.split("train"), config.tfidf)
    if config.tfidf.categories and not any(term.startswith(CATEGORY) for term in tfidf.terms):
        raise UserError(
            f"no training text of {prepared.folder} has a category among its terms: prepare with --gazetteer or "
            "--entities_dir, or train without (text_vsm)"
        )
    return Inputs(config, tfidf, _gazetteer_in(prepared.folder, config))


def load_inputs(config: Config, workdir: Path) -> Inputs:
    """As `Inputs.save` left them."""
    if config.modality == "fusion":
        return Inputs(config, sources=read_kept(workdir).sources)
    if config.modality != "text":
        return Inputs(config)
    return Inputs(config, load_tfidf(workdir / VOCABULARY), _gazetteer_in(workdir, config))


def _gazetteer_in(folder: Path, config: Config) -> Path | None:
    path = folder / GAZETTEER
    return path if config.tfidf.categories and path.exists() else None


def item_of(config: Config, widths: Sequence[int] = ()) -> Any:
    """The shape and dtype of an item's input, as a tree of `jax.ShapeDtypeStruct`.

    `widths` are those of the vectors that a fusion joins, if they are not the paper's.
    """
    if config.modality == "fusion":
        widths = widths or [FEATURE_WIDTHS[name] for name in config.fusion.names]
        return jax.ShapeDtypeStruct((sum(widths),), np.dtype(np.float32))
    if config.modality == "audio":
        return patch_item(config.audio)
    if config.modality == "image":
        return image_item(config.image)
    if config.modality == "timbre":
        return jax.ShapeDtypeStruct((N_VALUES,), np.dtype(np.float32))
    shapes = (jax.ShapeDtypeStruct((1,), np.dtype(dtype)) for dtype in (np.int32, np.float32))
    return Sparse(*shapes)
