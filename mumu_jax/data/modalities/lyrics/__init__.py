"""Lyrics: a record a track, the beginning of its lyrics; networks see the ids of word pieces."""

from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mumu_jax.config import Config, LyricsSettings
from mumu_jax.data.manifest import Album
from mumu_jax.data.modalities import base
from mumu_jax.data.modalities.base import Content, PreparedModality, Read, Spec
from mumu_jax.data.modalities.lyrics.files import is_lyrics, read_lyrics
from mumu_jax.data.modalities.lyrics.wordpiece import (
    WordPiece,
    bags_of,
    check_installed,
    fit_wordpiece,
    read_wordpiece,
)
from mumu_jax.data.modalities.suffixes import is_audio

PIECES = "vocabulary.txt"  # in a run


class Lyrics(PreparedModality):
    """Songs' lyrics."""

    name, item, settings, sections = "lyrics", "track", LyricsSettings, ("lyrics", "tokens")
    sees, files = "lyrics", ".txt or .lrc"
    versions: ClassVar[dict[str, str]] = {"lyrics": "1"}  # of `files.py`: another number if it reads other text
    shard_records = 4096
    counts = ("empty",)
    in_process = True  # a file takes less than a millisecond
    by_default = False  # most texts beside songs are reviews

    def inputs(self, album: Album, folder: Path) -> Iterator[tuple[str, Path | None]]:
        """Yield each track's id and the file with its lyrics."""
        return ((track.track_id, track.lyrics) for track in album.tracks)

    def read(self, source: Path, settings: LyricsSettings) -> Content:
        """Read a text file or a song's tags.  Raises UserError on tags if mutagen is not installed."""
        text = read_lyrics(source, settings.max_chars)
        return Content({"lyrics": text}, {"empty": int(not text.strip())})

    def fields(self, settings: LyricsSettings) -> dict[str, base.Field]:
        return {"lyrics": base.Text()}

    def fit(self, records: Iterable[Mapping[str, Any]], folder: Path, config: Config) -> WordPiece:
        """Read the vocabulary that the config names, or fit one.  Raises UserError without the extra `lyrics`."""
        check_installed()
        if config.tokens.vocabulary:
            return read_wordpiece(Path(config.tokens.vocabulary), config.tokens)
        return fit_wordpiece((record["lyrics"] for record in records), config.tokens)

    def save(self, fitted: WordPiece, workdir: Path) -> None:
        """Write the vocabulary, whatever file it came from."""
        fitted.save(workdir / PIECES)

    def load(self, workdir: Path, config: Config) -> WordPiece:
        return read_wordpiece(workdir / PIECES, config.tokens)

    def shape(self, config: Config, fitted: Any) -> Spec:
        return Spec((config.tokens.max_tokens,), np.dtype(np.int32))

    def arrays(self, records: Iterable[Mapping[str, Any]], config: Config, fitted: WordPiece) -> np.ndarray:
        return fitted.encode([record["lyrics"] for record in records], config.tokens.max_tokens)

    def summary(self, records: Iterable[Mapping[str, Any]], config: Config, fitted: WordPiece) -> Any:
        """Return the pieces that a network sees as bags of words: 1 + ln count of each, in rows of norm 1."""
        return bags_of(self.arrays(records, config, fitted), len(fitted.pieces))

    def is_one(self, path: Path) -> bool:
        return is_lyrics(path)

    def is_inside(self, path: Path) -> bool:
        """Return True for a song: its tags may hold lyrics, if mutagen is there to read them."""
        return is_audio(path) and find_spec("mutagen") is not None

    def read_file(self, path: Path, config: Config, fitted: WordPiece | None) -> Read:
        """Read a text file or a song's tags, as far as the training lyrics went."""
        return Read(path, [self.read(path, config.lyrics).fields])

    def describe(self, config: Config, fitted: WordPiece) -> tuple[str, str]:
        n = config.tokens.max_tokens
        case = "in lower case and without accents" if config.tokens.lower_case else "as they are written"
        start, end = fitted.encode([""], 2)[0].tolist()
        return (
            f"int32 [n, {n}]: of each song's lyrics ({case}) the first word pieces, as BERT's tokenizer finds them: "
            f"their lines in `{PIECES}`, counted from 0, {n - 2} at most, between {start} ([CLS]) and {end} ([SEP]), "
            "with zeros behind them."
        ), f"lyrics = np.array([[{start}, {end}] + [0] * {n - 2}] * 2, np.int32)"
