"""Vectors: albums as the joined feature vectors of other runs, which a fusion sees.  Oramas et al. 2017, section 5.4.

A fusion's folder keeps them: `fusion.json` names the runs, `features/<modality>.npz` holds their vectors.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from mumu_jax.config import Config, FusionSettings
from mumu_jax.data.manifest import Label
from mumu_jax.data.modalities.base import Modality, Spec
from mumu_jax.errors import UserError

FUSION = "fusion.json"
# Of the paper's best networks, HIGH-4x70, VSM+SEM and ResNet-101; of musicnn and BERT; of shallow networks, which have
# no other vectors than their inputs.
FEATURE_WIDTHS = {
    **{"audio": 4096, "text": 2048, "image": 2048, "mel": 200, "lyrics": 768},
    **{"descriptors": 97, "timbre": 48},
}


@dataclass(frozen=True)
class Source:
    """A run whose vectors are kept: its path, its fingerprint, the vectors' width and their file's checksum.

    `relative` is its path as seen from the fusion's folder, in case both were moved together.
    """

    path: str
    fingerprint: str
    width: int
    sha256: str
    relative: str = ""

    def folder(self, workdir: Path) -> Path:
        """Return the run's current folder; `workdir` is the fusion's."""
        return folder_of(self.path, self.relative, workdir)


def folder_of(path: str, relative: str, folder: Path) -> Path:
    """Return a run's current folder: its recorded path, or the same path relative to `folder`, moved with it.

    Without `relative`, `path` may itself be relative to `folder`.
    """
    places = [Path(path), folder / relative] if relative else [folder / path]
    return next((place for place in places if (place / "constants.npz").exists()), places[0])  # no export has constants


@dataclass(frozen=True)
class Kept:
    """The content of `fusion.json`; `sources` are by modality, in the order in which their vectors are joined."""

    data_dir: str
    albums_sha256: str
    labels: list[Label]
    sources: dict[str, Source]


def read_kept(workdir: Path) -> Kept:
    """Read a fusion's `fusion.json`; raises UserError if it is missing or damaged."""
    path = workdir / FUSION
    try:
        return msgspec.json.decode(path.read_bytes(), type=Kept)
    except (OSError, msgspec.MsgspecError, json.JSONDecodeError) as error:
        raise UserError(
            f"{path} is not what a fusion keeps of its runs ({error}); restore it, or train again in another --workdir"
        ) from error


class Vectors(Modality):
    """The vectors of several runs side by side; `fitted` are the runs by modality."""

    name, item, settings, sections = "fusion", "album", FusionSettings, ("fusion",)
    sees = "several kinds of input at once, each seen by a model of its own"

    def fit(self, records: Iterable[Mapping[str, Any]], folder: Path, config: Config) -> dict[str, Source]:
        """Return the runs whose vectors are in `folder`."""
        return read_kept(folder.parent).sources

    def load(self, workdir: Path, config: Config) -> dict[str, Source]:
        """Return the runs whose vectors the fusion keeps."""
        return read_kept(workdir).sources

    def shape(self, config: Config, fitted: Mapping[str, Source] | None) -> Spec:
        """Return the joined vector's width; that of the paper's best networks if nothing is fitted."""
        widths = [source.width for source in fitted.values()] if fitted else []
        widths = widths or [FEATURE_WIDTHS[name] for name in config.fusion.names]
        return Spec((sum(widths),), np.dtype(np.float32))

    def arrays(self, records: Iterable[Mapping[str, Any]], config: Config, fitted: Any) -> np.ndarray:
        return np.stack([record["vector"] for record in records])

    def columns(self, config: Config, fitted: Mapping[str, Source]) -> tuple[str, ...]:
        """Return the run and the place in its vector of each number."""
        return tuple(f"{name} {i + 1}" for name, source in fitted.items() for i in range(source.width))

    def describe(self, config: Config, fitted: Mapping[str, Source]) -> tuple[str, str]:
        width = sum(source.width for source in fitted.values())
        parts = ", ".join(f"{name} ({source.width})" for name, source in fitted.items())
        return (
            f"float32 [n, {width}]: the penultimate vectors of the models in `sources/` (each has its own "
            f"card), {parts}, in this order side by side, each divided by its length; of songs the mean over "
            "the patches, before that. "
            + ("Zeros stand for one that is missing." if config.fusion.missing == "mask" else "None may be missing.")
        ), f"vectors = np.full((2, {width}), 0.01, np.float32)"
