"""Turn texts into sparse rows of tf-idf weights: VSM, or VSM+SEM with categories.  Oramas et al. 2017, section 5.2."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from mumu_jax.batch import Sparse
from mumu_jax.config import TfidfSettings
from mumu_jax.errors import UserError
from mumu_jax.system.files import write_json

CATEGORY = "category:"  # before the name of a category that counts as a word
NNZ_STEP = 32  # rows are padded to a multiple of this many values, so that few programs are compiled

Record = Mapping[str, Any]  # prepared text: "text", and "categories" of the entities in it


@dataclass(frozen=True)
class Tfidf:
    """A vocabulary with its inverse document frequencies; `categories` is set if categories count as words."""

    terms: tuple[str, ...]
    idf: Float32[np.ndarray, " terms"]
    categories: bool

    def transform(self, records: Iterable[Record]) -> Sparse:
        """Return the records' rows.

        A row's values have Euclidean norm 1, or are all zero if the text has no term of the vocabulary.
        """
        return sparse_rows(self._vectorizer.transform(map(self.words, records)))

    def words(self, record: Record) -> list[str]:
        return words_of(record, self.categories)

    def save(self, path: Path) -> None:
        write_json(path, {"categories": self.categories, "terms": self.terms, "idf": self.idf.tolist()})

    @cached_property
    def _vectorizer(self) -> Any:
        vectorizer = _vectorizer(vocabulary={term: i for i, term in enumerate(self.terms)})
        vectorizer.idf_ = self.idf.astype(np.float64)
        return vectorizer


def sparse_rows(matrix: Any) -> Sparse:
    """Return the rows of a SciPy CSR matrix: columns (int32) and values (float32) of shape [n, nnz]."""
    lengths = np.diff(matrix.indptr)
    nnz = NNZ_STEP * max(1, -(-int(lengths.max(initial=0)) // NNZ_STEP))
    columns = np.zeros((len(lengths), nnz), np.int32)
    values = np.zeros((len(lengths), nnz), np.float32)
    rows = np.repeat(np.arange(len(lengths)), lengths)
    places = np.arange(matrix.nnz) - np.repeat(matrix.indptr[:-1], lengths)
    columns[rows, places] = matrix.indices
    values[rows, places] = matrix.data
    return Sparse(columns, values, matrix.shape[1])


def words_of(record: Record, categories: bool) -> list[str]:
    """Return the words of a text, then each category as one word, which no other word equals since it has a colon."""
    words = _analyzer()(record["text"])
    return words + [f"{CATEGORY}{name}" for name in record["categories"]] if categories else words


def fit_tfidf(records: Iterable[Record], settings: TfidfSettings) -> Tfidf:
    """Fit the vocabulary: the `n_terms` most frequent terms that are in at most `max_df` of the records, and their idf.

    Raises UserError if there is no such term.
    """
    vectorizer = _vectorizer(max_features=settings.n_terms, max_df=settings.max_df)
    try:
        vectorizer.fit(words_of(record, settings.categories) for record in records)
    except ValueError as error:
        raise UserError(
            f"the training texts have no word that is in at most {settings.max_df:.0%} of them; prepare more texts, "
            "or raise config.tfidf.max_df"
        ) from error
    terms = tuple(str(term) for term in vectorizer.get_feature_names_out())
    return Tfidf(terms, vectorizer.idf_.astype(np.float32), settings.categories)


def load_tfidf(path: Path) -> Tfidf:
    """Read what `Tfidf.save` wrote.  Raises UserError on anything else."""
    try:
        content = json.loads(path.read_bytes())
        terms, idf = tuple(content["terms"]), np.array(content["idf"], np.float32)
        if idf.shape != (len(terms),):
            raise ValueError(f"{len(terms)} terms, but idf of shape {idf.shape}")
        return Tfidf(terms, idf, bool(content["categories"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not what a training run writes ({error!r}); restore it") from error


# scikit-learn is imported late: it takes a second, and runs of other modalities import this file, too.


@cache
def _analyzer() -> Callable[[str], list[str]]:
    """Return the function that splits a text into words: lower case, two letters or more."""
    from sklearn.feature_extraction.text import CountVectorizer

    return CountVectorizer().build_analyzer()


def _vectorizer(**settings: Any) -> Any:
    """Return the spec's tf-idf for lists of words."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    keep_words: Any = list
    return TfidfVectorizer(sublinear_tf=True, analyzer=keep_words, **settings)
