"""Which words tell a genre: information gain.  Oramas et al. 2017, section 6.2."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from sklearn.feature_extraction.text import CountVectorizer

from mumu_jax.errors import UserError

MIN_TEXTS = 3  # a word in fewer texts, of however many, tells nothing that can be trusted


class WordGains(NamedTuple):
    """Of every word and genre."""

    words: list[str]
    gain_bits: Float[np.ndarray, "words labels"]
    with_genre: Float[np.ndarray, "words labels"]  # share of the genre's texts that have the word
    without: Float[np.ndarray, "words labels"]  # share of the other texts


def word_gains(texts: Sequence[Sequence[str]], labels: UInt8[np.ndarray, "texts labels"]) -> WordGains:
    """How many bits knowing whether a text has a word takes from the uncertainty whether it has a genre.

    H(genre) - H(genre | word), from presence alone; words of fewer than MIN_TEXTS texts are left out.  `texts` are
    lists of words.  Raises UserError where no word is left.
    """
    as_they_are: Any = list
    counter = CountVectorizer(analyzer=as_they_are, binary=True, min_df=MIN_TEXTS)
    try:
        has_word: Any = counter.fit_transform(texts)
    except ValueError as error:
        raise UserError(
            f"expected words that are in MIN_TEXTS = {MIN_TEXTS} texts or more, found none in {len(texts):,} texts; "
            "prepare more texts, or choose a larger --split"
        ) from error
    n, n_word, n_label = len(texts), np.asarray(has_word.sum(axis=0)).ravel()[:, None], labels.sum(axis=0)[None]
    both = np.asarray(has_word.T @ labels.astype(np.int64))
    p_word = n_word / n
    with_word = both / n_word
    without_word = (n_label - both) / np.maximum(n - n_word, 1)
    gain = _entropy_bits(n_label / n) - p_word * _entropy_bits(with_word) - (1 - p_word) * _entropy_bits(without_word)
    with_genre = both / np.maximum(n_label, 1)
    without = (n_word - both) / np.maximum(n - n_label, 1)
    return WordGains([str(word) for word in counter.get_feature_names_out()], gain, with_genre, without)


def telling_words(gains: WordGains, label: int, top_k: int) -> list[int]:
    """The words with the largest gain for a label among those that its texts have more often than others."""
    gain = np.where(gains.with_genre[:, label] > gains.without[:, label], gains.gain_bits[:, label], 0)
    best = np.argsort(-gain, kind="stable")[:top_k]
    return [int(word) for word in best if gain[word] > 0]


def _entropy_bits(p: Float[np.ndarray, "a b"]) -> Float[np.ndarray, "a b"]:
    """Of a yes or no that is yes with probability p."""
    q = 1 - p
    return -(p * np.log2(np.where(p > 0, p, 1)) + q * np.log2(np.where(q > 0, q, 1)))
