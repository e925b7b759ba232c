"""The words that tell the genres of a data set apart, as a table and as a picture."""

import csv
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from mumu_jax.data.loader import multi_hot
from mumu_jax.data.modalities.text.information_gain import telling_words, word_gains
from mumu_jax.data.modalities.text.tfidf import words_of
from mumu_jax.data.store.records import Prepared
from mumu_jax.errors import UserError
from mumu_jax.system.files import replacing

PLOTTED = 12  # genres, the most frequent ones
COLUMNS = 3
TITLE_CHARS = 30  # a line, in the width of a panel


class Word(NamedTuple):
    """One telling word: its information gain, and the shares of texts with and without the genre that have it."""

    word: str
    gain_bits: float
    with_genre: float
    without: float


class Genre(NamedTuple):
    """A genre, the number of texts that have it, and its words, the most telling first."""

    name: str
    n_texts: int
    words: list[Word]


def words_by_genre(prepared: Prepared, split: str, categories: bool, top_k: int) -> list[Genre]:
    """Return the genres of a split's texts, the most frequent first.  Oramas et al. 2017, section 6.2.

    Raises UserError if no word tells any of them.
    """
    records = list(prepared.split(split))
    labels = np.array([multi_hot(record["labels"], len(prepared.labels)) for record in records])
    gains = word_gains([words_of(record, categories) for record in records], labels)

    def genre(column: int) -> Genre:
        best = telling_words(gains, column, top_k)
        numbers = (gains.gain_bits, gains.with_genre, gains.without)
        words = [Word(gains.words[i], *(float(by_word[i, column]) for by_word in numbers)) for i in best]
        return Genre(prepared.labels[column].name, int(labels[:, column].sum()), words)

    genres = [genre(column) for column in range(len(prepared.labels)) if labels[:, column].any()]
    if not any(genre.words for genre in genres):
        raise UserError(
            f"expected a word that is more frequent in a genre's texts than in the others, found none of {len(genres)} "
            f"genres in {len(records)} texts of {prepared.folder}; prepare more texts, or choose a larger --split"
        )
    return sorted(genres, key=lambda genre: (-genre.n_texts, genre.name))


def write_table(path: Path, genres: Sequence[Genre]) -> None:
    """Write a CSV with a row a word."""
    with replacing(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("genre", "n_texts", "rank", *Word._fields))
        for genre in genres:
            for rank, word in enumerate(genre.words, 1):
                numbers = (f"{number:.6f}" for number in word[1:])
                writer.writerow((genre.name, genre.n_texts, rank, word.word, *numbers))


def draw_words(genres: Sequence[Genre]) -> Figure:
    """Draw a bar a word in a panel a genre, for the most frequent genres."""
    shown = [genre for genre in genres if genre.words][:PLOTTED]
    rows = max(1, -(-len(shown) // COLUMNS))
    n_words = max((len(genre.words) for genre in shown), default=1)
    figure = Figure(figsize=(4 * COLUMNS, rows * (0.8 + 0.22 * n_words)), layout="constrained")
    axes: Any = figure.subplots(rows, COLUMNS, squeeze=False)
    for ax, genre in zip(axes.flat, shown, strict=False):
        _draw_genre(ax, genre)
    for ax in axes.flat[len(shown) :]:
        ax.axis("off")
    figure.supxlabel("information gain, bits", fontsize=10)
    return figure


def _draw_genre(ax: Any, genre: Genre) -> None:
    places = np.arange(len(genre.words))
    ax.barh(places, [word.gain_bits for word in genre.words], color="#3b6ea5", height=0.7)
    ax.set_yticks(places, [word.word for word in genre.words])
    ax.invert_yaxis()
    ax.set_title(fill(f"{genre.name} ({genre.n_texts:,} texts)", TITLE_CHARS), fontsize=10, loc="left", x=0)
    ax.tick_params(labelsize=8, length=0)
    ax.spines[["top", "right", "left"]].set_visible(False)
