"""Modalities whose records are a fixed number of values, standardised by their mean and deviation over training."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float32

from mumu_jax.config import Config
from mumu_jax.data.modalities.base import PreparedModality, Spec, Tensor

LEAST_STD = 1e-6  # a value that is the same in all training items is only centred


class Values(PreparedModality):
    """A modality with one field of numbers, which has the modality's name; `column_names` are theirs."""

    column_names: ClassVar[tuple[str, ...]]

    @property
    def n_values(self) -> int:
        return len(self.column_names)

    def columns(self, config: Config, fitted: None) -> tuple[str, ...]:
        return self.column_names

    def fields(self, settings: Any) -> dict[str, Tensor]:
        return {self.name: Tensor((self.n_values,), np.float32)}

    def statistics(
        self, records: Iterable[dict[str, Any]], settings: Any
    ) -> tuple[Float32[np.ndarray, " values"], Float32[np.ndarray, " values"]]:
        """Return mean and standard deviation of each value over the records, in float64; 0 and 1 without records."""
        rows = [record[self.name] for record in records]
        values = np.array(rows, np.float64) if rows else np.array([[-1.0], [1.0]]) * np.ones(self.n_values)
        std = values.std(axis=0)
        return values.mean(axis=0).astype(np.float32), np.where(std > LEAST_STD, std, 1).astype(np.float32)

    def shape(self, config: Config, fitted: None) -> Spec:
        return Spec((self.n_values,), np.dtype(np.float32))

    def arrays(self, records: Iterable[Mapping[str, Any]], config: Config, fitted: None) -> np.ndarray:
        return np.array([record[self.name] for record in records], np.float32).reshape(-1, self.n_values)
