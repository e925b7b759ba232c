"""Information gain: the words that tell a genre.  Oramas et al. 2017, section 6.2."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from sklearn.feature_extraction.text import CountVectorizer

from mumu_jax.errors import UserError

MIN_TEXTS = 3  # a word in fewer texts says nothing reliable


class WordGains(NamedTuple):
    """The information gain and the frequencies of every word for every genre."""

    words: list[str]
    gain_bits: Float[np.ndarray, "words labels"]
    with_genre: Float[np.ndarray, "words labels"]  # share of the genre's texts that have the word
    without: Float[np.ndarray, "words labels"]  # share of the other texts


def word_gains(texts: Sequence[Sequence[str]], labels: UInt8[np.ndarray, "texts labels"]) -> WordGains:
    """Return the information gain of each word for each genre: H(genre) - H(genre | word), in bits.

    Only a word's presence in a text counts, and words in fewer than MIN_TEXTS texts are left out.  `texts` are lists
    of words.  Raises UserError if no word is left.
    """
    keep_words: Any = list
    counter = CountVectorizer(analyzer=keep_words, binary=True, min_df=MIN_TEXTS)
    try:
        has_word: Any = counter.fit_transform(texts)
    except ValueError as error:
        raise UserError(
            f"expected words that are in MIN_TEXTS = {MIN_TEXTS} texts or more, found none in {len(texts):,} texts; "
            "prepare more texts, or choose a larger --split"
        ) from error
    n = len(texts)
    n_word = np.asarray(has_word.sum(axis=0)).ravel()[:, None]
    n_label = labels.sum(axis=0)[None]
    both = np.asarray(has_word.T @ labels.astype(np.int64))
    p_word = n_word / n
    with_word = both / n_word
    without_word = (n_label - both) / np.maximum(n - n_word, 1)
    gain = _entropy_bits(n_label / n) - p_word * _entropy_bits(with_word) - (1 - p_word) * _entropy_bits(without_word)
    with_genre = both / np.maximum(n_label, 1)
    without = (n_word - both) / np.maximum(n - n_label, 1)
    return WordGains([str(word) for word in counter.get_feature_names_out()], gain, with_genre, without)


def telling_words(gains: WordGains, label: int, top_k: int) -> list[int]:
    """Return the words with the largest gain for a label, among those that are more frequent in its texts."""
    gain = np.where(gains.with_genre[:, label] > gains.without[:, label], gains.gain_bits[:, label], 0)
    best = np.argsort(-gain, kind="stable")[:top_k]
    return [int(word) for word in best if gain[word] > 0]


def _entropy_bits(p: Float[np.ndarray, "a b"]) -> Float[np.ndarray, "a b"]:
    """Return the entropy of a yes or no that is yes with probability p."""
    q = 1 - p
    return -(p * np.log2(np.where(p > 0, p, 1)) + q * np.log2(np.where(q > 0, q, 1)))
