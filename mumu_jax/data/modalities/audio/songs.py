"""Recordings as frames: a record a track, `[frames, bins]` float16; a network sees patches of them."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float16, Float32

from mumu_jax.config import Config
from mumu_jax.data.modalities.audio import patches
from mumu_jax.data.modalities.audio.decode import TrackFrames
from mumu_jax.data.modalities.audio.duplicates import alike, likeness
from mumu_jax.data.modalities.audio.recordings import SILENT, Recordings
from mumu_jax.data.modalities.base import Content, Cutting, Read, Spec, Tensor


class Songs(Recordings):
    """Songs as frames of a time-frequency transform, whose settings are `config.<name>`."""

    streamed = True
    has_likeness, likeness_words = True, ("songs", "sound like")
    later_settings = frozenset({"patch_frames", "patch_seed"})  # patches are cut when the records are read

    @abstractmethod
    def field(self, settings: Any) -> str:
        """Return the name of the frames' field in a record."""

    @abstractmethod
    def frames_of(self, path: Path, settings: Any) -> TrackFrames:
        """Decode a track and transform it.  Raises Rejected."""

    @abstractmethod
    def levels_db(
        self, frames: Float16[np.ndarray, "frames bins"], settings: Any
    ) -> Float32[np.ndarray, "frames bins"]:
        """Return stored frames in dB, at most about 0."""

    def settings_of(self, config: Config) -> Any:
        """Return the section of `config` that describes the frames."""
        return getattr(config, self.name)

    def read(self, source: Path, settings: Any) -> Content:
        """Decode a track."""
        frames, seconds, silent = self.frames_of(source, settings)
        return Content({self.field(settings): frames}, {"seconds": seconds, "silent": int(silent)})

    def likeness(self, fields: Mapping[str, Any], settings: Any) -> bytes:
        """Return the likeness of the first excerpt."""
        frames = fields[self.field(settings)]
        return likeness(self.levels_db(frames, settings), patches.n_frames_of_excerpt(settings))

    def alike(self, a: Sequence[bytes], b: Sequence[bytes]) -> Iterator[tuple[int, int]]:
        """Yield the pairs that sound alike."""
        return alike(a, b)

    def fields(self, settings: Any) -> dict[str, Tensor]:
        """Return the frames' field."""
        return {self.field(settings): Tensor((None, settings.n_bins), np.float16)}

    def shape(self, config: Config, fitted: None) -> Spec:
        """Return a patch's shape."""
        settings = self.settings_of(config)
        return Spec((settings.patch_frames, settings.n_bins), np.dtype(np.float16))

    def arrays(self, records: Iterable[Mapping[str, Any]], config: Config, fitted: None) -> np.ndarray:
        """Stack the patches that `read_file` cut."""
        return np.stack([record["patch"] for record in records])

    def fill(
        self,
        record: Mapping[str, Any],
        out: Float16[np.ndarray, "frames bins"],
        uniform: float | None,
        config: Config,
    ) -> None:
        """Cut the track's fixed patch, or a random one."""
        settings = self.settings_of(config)
        frames = record[self.field(settings)]
        if uniform is None:
            start = patches.fixed_start(record["track_id"], len(frames), settings)
        else:
            start = patches.random_start(len(frames), uniform, settings)
        patches.cut(frames, start, settings, out)

    def cutting(self, config: Config) -> Cutting:
        """Return the way that `fill` cuts random patches."""
        settings = self.settings_of(config)
        start = partial(patches.random_start, settings=settings)
        return Cutting(itemgetter(self.field(settings)), start, settings.filling)

    def summary(
        self, records: Iterable[Mapping[str, Any]], config: Config, fitted: None
    ) -> Float32[np.ndarray, "tracks values"]:
        """Return the mean and the standard deviation of each bin over a track's frames, in dB."""
        settings = self.settings_of(config)
        tracks = (self.levels_db(record[self.field(settings)], settings) for record in records)
        return np.stack([np.concatenate([frames.mean(axis=0), frames.std(axis=0)]) for frames in tracks])

    def read_file(self, path: Path, config: Config, fitted: None) -> Read:
        """Cut a song into `config.data.patches`, evenly spaced; if that is 0, into as many as cover each excerpt.

        Each has the time at which it starts.
        15 MB an hour of music; the decoding holds one excerpt at a time.
        """
        settings = self.settings_of(config)
        frames, seconds, silent = self.frames_of(path, settings)
        if silent:
            return Read(path, [], seconds, error=str(SILENT))
        if n := config.data.patches:
            starts = patches.spread_starts(len(frames), n, settings)
        else:
            starts = patches.covering_starts(len(frames), settings)
        records = [
            {
                "patch": patches.cut(frames, start, settings),
                "start_s": patches.start_s(start, len(frames), seconds, settings),
            }
            for start in starts
        ]
        return Read(path, records, seconds)
