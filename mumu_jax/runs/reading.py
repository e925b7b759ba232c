"""A user's own file → what a run's first network sees of it: songs, texts, covers, or the MSD's timbre."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mumu_jax.config import AudioSettings, ImageSettings, TextSettings
from mumu_jax.data.manifest import Rejected
from mumu_jax.data.modalities import MODALITIES
from mumu_jax.data.modalities.audio import decode, patches
from mumu_jax.data.modalities.base import died
from mumu_jax.data.modalities.image.read import read_image
from mumu_jax.data.modalities.text import Document, read_document
from mumu_jax.data.modalities.text.files import read_text
from mumu_jax.data.modalities.timbre import read_timbre
from mumu_jax.data.sources.files import is_audio, is_image
from mumu_jax.runs.inputs import Inputs


@dataclass(frozen=True)
class Read:
    """One file: its records, as `Inputs.arrays` takes them, or the reason why there are none.

    A song has a record for each of the patches that cover it, {"patch"}; a text one, {"text", "categories"}; an image
    one, {"image"}; an `.h5` file one, {"timbre"}.
    """

    path: Path
    records: list[dict[str, Any]]
    seconds: float = 0.0
    error: str = ""


@dataclass(frozen=True)
class Reader:
    """How a modality's files are known in a folder, and read: in other processes, unless `in_process`."""

    kind: str
    is_one: Callable[[Path], bool]
    read: Callable[[Path], Read]
    in_process: bool


def reader_of(inputs: Inputs) -> Reader:
    """The reader for a run's modality, with the run's settings."""
    config = inputs.config
    here = MODALITIES[config.modality].in_process
    if config.modality == "audio":
        return Reader("audio", is_audio, partial(read_song, settings=config.audio), here)
    if config.modality == "text":
        read = partial(read_document_file, settings=config.text, gazetteer=inputs.gazetteer)
        return Reader(".txt", lambda path: path.suffix.lower() == ".txt", read, here)
    if config.modality == "image":
        return Reader("image", is_image, partial(read_cover, settings=config.image), here)
    return Reader(".h5", lambda path: path.suffix.lower() == ".h5", read_h5, here)


def read_song(path: Path, settings: AudioSettings) -> Read:
    """The patches of a whole song: of each of its 30 s excerpts, as many as cover it.

    15 MB an hour of music; the decoding holds one excerpt at a time.
    """
    found = decode.read_track(path, settings)
    if isinstance(found, Rejected):
        return Read(path, [], error=str(found))
    cqt, seconds, silent = found
    if silent:
        return Read(path, [], seconds, error="silent: there is no sound in it")
    size = patches.n_frames_of_excerpt(settings)
    excerpts = np.split(cqt, range(size, len(cqt) - size + 1, size))
    cuts = [
        {"patch": patches.cut(excerpt, start, settings)}
        for excerpt in excerpts
        for start in patches.consecutive_starts(len(excerpt), settings)
    ]
    return Read(path, cuts, seconds)


def read_document_file(path: Path, settings: TextSettings, gazetteer: Path | None) -> Read:
    """The beginning of a text, as far as training texts went, and the categories of the entities in it."""
    try:
        text = read_text(path, settings.max_chars)
    except Rejected as rejected:
        return Read(path, [], error=str(rejected))
    return Read(path, [read_document(Document(text, gazetteer=gazetteer), settings).fields])


def read_cover(path: Path, settings: ImageSettings) -> Read:
    """The centre square of an image."""
    try:
        return Read(path, [{"image": read_image(path, settings)}])
    except Rejected as rejected:
        return Read(path, [], error=str(rejected))


def read_h5(path: Path) -> Read:
    """The timbre statistics of a track of the Million Song Dataset."""
    try:
        return Read(path, [{"timbre": read_timbre(path)}])
    except Rejected as rejected:
        return Read(path, [], error=str(rejected))


def died_reading(path: Path) -> Read:
    """What becomes of a file whose reading kills the process."""
    return Read(path, [], error=str(died(path)))
