"""Recordings: a record a track, made of its audio file.  All modalities of songs share how these are found and read."""

from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar

import soundfile

from mumu_jax.data.manifest import Album, Rejected
from mumu_jax.data.modalities.audio.foreign import libav_versions
from mumu_jax.data.modalities.base import PreparedModality
from mumu_jax.data.modalities.suffixes import is_audio, is_foreign

SILENT = Rejected("silent", "there is no sound in it")  # nothing to tag; kept for training


class Recordings(PreparedModality):
    """A modality whose records are made of songs."""

    item = "track"
    sees, files = "songs", "audio"
    versions: ClassVar[dict[str, str]] = {
        "libsndfile": soundfile.__libsndfile_version__,
        "soxr": version("soxr"),
    }
    shard_records = 256  # 32 MB of 30 s tracks as frames
    counts = ("silent", "seconds")

    def inputs(self, album: Album, folder: Path) -> Iterator[tuple[str, Path | None]]:
        """Yield each track's id and audio file."""
        return ((track.track_id, track.audio) for track in album.tracks)

    def versions_of(self, sources: Iterable[Path | None]) -> Mapping[str, str]:
        """Return the versions of the decoder and the resampler; of FFmpeg's if a name says that it is needed."""
        needed = any(source is not None and is_foreign(source) for source in sources)
        return {**self.versions, **libav_versions()} if needed else self.versions

    def is_one(self, path: Path) -> bool:
        """Return True for the suffixes of audio."""
        return is_audio(path)
