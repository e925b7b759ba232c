"""Audio: a record a track, its frames as `[frames, bins]` float16 dB; a network sees patches of them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import soundfile
from jaxtyping import Float16, Float32

from mumu_jax.config import AudioSettings, Config
from mumu_jax.data.manifest import Album, Rejected
from mumu_jax.data.modalities.audio import patches
from mumu_jax.data.modalities.audio.decode import track_cqt
from mumu_jax.data.modalities.audio.duplicates import alike, likeness
from mumu_jax.data.modalities.audio.front_ends import front_end_of
from mumu_jax.data.modalities.base import Content, PreparedModality, Read, Spec, Tensor
from mumu_jax.data.modalities.suffixes import is_audio

SILENT = Rejected("silent", "there is no sound in it")  # nothing to tag; kept for training, at the floor


class Audio(PreparedModality):
    """Songs.  The record's field is named after the front end that made it."""

    name, item, settings, sections = "audio", "track", AudioSettings, ("audio",)
    own_settings = frozenset({"data.patch", "data.standardise"})
    sees, files, streamed = "songs", "audio", True
    versions: ClassVar[dict[str, str]] = {
        "libsndfile": soundfile.__libsndfile_version__,
        "soxr": version("soxr"),
    }
    shard_records = 256  # 32 MB of 30 s tracks
    counts = ("silent", "seconds")
    has_likeness, likeness_words = True, ("songs", "sound like")
    later_settings = frozenset({"patch_frames", "patch_seed"})  # patches are cut when the records are read

    def inputs(self, album: Album, folder: Path) -> Iterator[tuple[str, Path | None]]:
        """Yield each track's id and audio file."""
        return ((track.track_id, track.audio) for track in album.tracks)

    def read(self, source: Path, settings: AudioSettings) -> Content:
        """Decode a track."""
        frames, seconds, silent = track_cqt(source, settings)
        return Content({settings.front_end: frames}, {"seconds": seconds, "silent": int(silent)})

    def likeness(self, fields: Mapping[str, Any], settings: AudioSettings) -> bytes:
        """Return the likeness of the first excerpt."""
        return likeness(fields[settings.front_end], patches.n_frames_of_excerpt(settings))

    def alike(self, a: Sequence[bytes], b: Sequence[bytes]) -> Iterator[tuple[int, int]]:
        """Yield the pairs that sound alike."""
        return alike(a, b)

    def fields(self, settings: AudioSettings) -> dict[str, Tensor]:
        """Return the frames' field."""
        return {settings.front_end: Tensor((None, settings.n_bins), np.float16)}

    def check(self, settings: AudioSettings) -> None:
        """Raise UserError if there is no such front end, or if it cannot use the settings."""
        front_end_of(settings).check(settings)

    def statistics(self, records: Iterable[dict[str, Any]], settings: AudioSettings) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation of each (frame, bin) over the tracks' fixed patches."""
        return patches.fit_statistics(records, settings)

    def shape(self, config: Config, fitted: None) -> Spec:
        """Return a patch's shape."""
        return Spec((config.audio.patch_frames, config.audio.n_bins), np.dtype(np.float16))

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
        frames, settings = record[config.audio.front_end], config.audio
        if uniform is None:
            start = patches.fixed_start(record["track_id"], len(frames), settings)
        else:
            start = patches.random_start(len(frames), uniform, settings)
        patches.cut(frames, start, settings, out)

    def summary(
        self, records: Iterable[Mapping[str, Any]], config: Config, fitted: None
    ) -> Float32[np.ndarray, "tracks values"]:
        """Return the mean and the standard deviation of each bin over a track's frames, in dB."""
        tracks = (record[config.audio.front_end].astype(np.float32) for record in records)
        return np.stack([np.concatenate([frames.mean(axis=0), frames.std(axis=0)]) for frames in tracks])

    def is_one(self, path: Path) -> bool:
        """Return True for the suffixes of audio."""
        return is_audio(path)

    def read_file(self, path: Path, config: Config, fitted: None) -> Read:
        """Cut a whole song into patches: for each of its 30 s excerpts, as many as cover it.

        15 MB an hour of music; the decoding holds one excerpt at a time.
        """
        settings = config.audio
        frames, seconds, silent = track_cqt(path, settings)
        if silent:
            return Read(path, [], seconds, error=str(SILENT))
        size = patches.n_frames_of_excerpt(settings)
        excerpts = np.split(frames, range(size, len(frames) - size + 1, size))
        cuts = [
            {"patch": patches.cut(excerpt, start, settings)}
            for excerpt in excerpts
            for start in patches.consecutive_starts(len(excerpt), settings)
        ]
        return Read(path, cuts, seconds)

    def describe(self, config: Config, fitted: None) -> tuple[str, str]:
        """Describe the patches and the transform."""
        audio, shape = config.audio, f"{config.audio.patch_frames}, {config.audio.n_bins}"
        return (
            f"float16 [n, {shape}]: patches of {audio.patch_frames * audio.hop_length / audio.sr_hz:.1f} s, frames × "
            f"bins: {front_end_of(audio).describe(audio)}; magnitudes in dB below the largest of the "
            f"{audio.excerpt_s:g} s around it, at least {audio.floor_db:g}, which also fills what is too short."
        ), f"patches = np.full((2, {shape}), {audio.floor_db:g}, np.float16)"
