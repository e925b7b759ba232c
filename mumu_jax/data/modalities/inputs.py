"""The inputs of a run's first network: its modalities, with what each fitted on the training data."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from mumu_jax.config import Config
from mumu_jax.data.loader import Cut, Items, Records, Rows, Uniforms, array_items, join_items, multi_hot
from mumu_jax.data.modalities import NETWORK_INPUTS
from mumu_jax.data.modalities.base import Cutting, Modality, PreparedModality, Reader, read_own
from mumu_jax.errors import UserError


def modalities_of(config: Config) -> dict[str, Modality]:
    """Return the modalities that `config` names; raises UserError if one does not exist."""
    unknown = [name for name in config.inputs if name not in NETWORK_INPUTS]
    if unknown:
        known = ", ".join(map(repr, NETWORK_INPUTS))
        raise UserError(f"config.modality is {config.modality!r}; choose one of {known}, or several joined by '+'")
    return {name: NETWORK_INPUTS[name] for name in config.inputs}


def level_of(config: Config) -> str:
    """Return the kind of an item: a track if any modality has tracks, else an album."""
    return "track" if "track" in {modality.item for modality in modalities_of(config).values()} else "album"


@dataclass(frozen=True)
class Inputs:
    """A run's modalities with its settings; `fitted` is by modality, as `Modality.fit` returned it."""

    config: Config
    fitted: Mapping[str, Any]

    @classmethod
    def unfitted(cls, config: Config) -> "Inputs":
        """Return the inputs before anything is fitted: their shapes are those of the paper's data."""
        return cls(config, dict.fromkeys(modalities_of(config)))

    @classmethod
    def fit(cls, config: Config, records: Records, folders: Mapping[str, Path]) -> "Inputs":
        """Fit the inputs on the training split; `folders` are those of the prepared data."""
        parts = _parts(config, records)
        modalities = modalities_of(config).items()
        return cls(config, {name: one.fit(parts[name][0], folders[name], config) for name, one in modalities})

    @classmethod
    def load(cls, config: Config, workdir: Path) -> "Inputs":
        """Read what `save` wrote to the run's folder."""
        return cls(config, {name: one.load(workdir, config) for name, one in modalities_of(config).items()})

    def save(self, workdir: Path) -> None:
        """Write everything that `load` needs to the run's folder."""
        for name, modality in self.modalities.items():
            modality.save(self.fitted[name], workdir)

    @property
    def prepared(self) -> bool:
        """True if the inputs are prepared data; False if they are made of other runs."""
        return all(isinstance(one, PreparedModality) for one in self.modalities.values())

    @property
    def modalities(self) -> dict[str, Modality]:
        """The modalities by name, in the config's order."""
        return modalities_of(self.config)

    @property
    def level(self) -> str:
        """The kind of an item: track or album."""
        return level_of(self.config)

    @property
    def item(self) -> dict[str, Any]:
        """The shape and dtype of an item's input by modality, as trees of `base.Spec`."""
        return {name: one.shape(self.config, self.fitted[name]) for name, one in self.modalities.items()}

    def items(self, records: Records, n_labels: int, patch: str = "fixed") -> Items:
        """Return a split's items in the order of its records; `patch` is as in `config.data`."""
        parts = _parts(self.config, records)
        items, cuts = {}, {}
        for name, modality in self.modalities.items():
            part, rows = parts[name]
            cutting = modality.cutting(self.config) if patch == "random" else None
            items[name] = (self._items_of(name, part, n_labels, cutting), rows)
            if cutting is not None:
                cuts[name] = Cut(cutting.start, cutting.filling, part.n_bytes)
        return join_items(items, len(records), cuts)

    def own_records(self, name: str, records: Records, rows: Int[np.ndarray, " n"]) -> Iterable[dict[str, Any]]:
        """Return the records of one modality at these rows; those of the others are not read."""
        part, own_rows = _parts(self.config, records)[name]
        return part.read(rows if own_rows is None else own_rows[rows])

    def _items_of(self, name: str, records: Records, n_labels: int, cutting: Cutting | None) -> Items:
        """Return the items of one modality: read when they are needed, or held in memory."""
        modality, fitted = self.modalities[name], self.fitted[name]
        if not modality.streamed:
            return array_items(*self.held(name, records, n_labels))

        def read(rows: Rows, uniforms: Uniforms | None, inputs: Any, labels: Any) -> None:
            is_new = np.diff(rows, prepend=-1) != 0  # of several patches of a record: it is read once
            stream, record = iter(records.read(rows[is_new])), {}
            for i in range(len(rows)):
                record = next(stream) if is_new[i] else record
                uniform = None if cutting is None or uniforms is None else float(uniforms[i])
                if cutting is not None and uniform is None:
                    inputs[i] = cutting.frames(record)
                else:
                    modality.fill(record, inputs[i], uniform, self.config)
                labels[i, record["labels"]] = 1

        return Items(read, len(records), modality.shape(self.config, fitted), n_labels)

    def held(self, name: str, records: Records, n_labels: int) -> tuple[Any, UInt8[np.ndarray, "items labels"]]:
        """Return the inputs and multi-hot labels of all of a modality's records, which are held in memory."""
        held = list(records.read(range(len(records))))
        labels = np.array([multi_hot(record["labels"], n_labels) for record in held]).reshape(-1, n_labels)
        return self.modalities[name].arrays(held, self.config, self.fitted[name]), labels

    def arrays(self, records: Mapping[str, Iterable[Mapping[str, Any]]]) -> dict[str, Any]:
        """Return the inputs [n, …] of records by modality that are held in memory."""
        return {
            name: one.arrays(records[name], self.config, self.fitted[name]) for name, one in self.modalities.items()
        }

    def readers(self) -> dict[str, Reader]:
        """Return by modality how a user's own files are known and read."""
        return {
            name: Reader(
                one.files,
                one.is_one,
                partial(read_own, one, config=self.config, fitted=self.fitted[name]),
                one.in_process,
                one.is_inside,
            )
            for name, one in self.modalities.items()
            if isinstance(one, PreparedModality)
        }

    def with_fitted(self, name: str, **changes: Any) -> "Inputs":
        """Return the inputs with other fields of what the modality `name` fitted."""
        return replace(self, fitted={**self.fitted, name: replace(self.fitted[name], **changes)})


def _parts(config: Config, records: Any) -> Mapping[str, tuple[Any, Any]]:
    """Return by modality the records, and which of them belongs to each item (None: they are in the items' order)."""
    return records.parts if len(config.inputs) > 1 else {config.modality: (records, None)}
