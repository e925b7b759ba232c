"""Text: a record an album, the beginning of its reviews and the categories of the entities named in it.

Oramas et al. 2017, section 5.2.
"""

import hashlib
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from mumu_jax.config import Config, TextSettings
from mumu_jax.data.manifest import Album, Rejected
from mumu_jax.data.modalities import base
from mumu_jax.data.modalities.base import Content, PreparedModality, Read, Spec, file_state, path_state
from mumu_jax.data.modalities.text.entities import categories_of
from mumu_jax.data.modalities.text.files import plain, read_text
from mumu_jax.errors import UserError
from mumu_jax.system.files import replacing, sha256_of

if TYPE_CHECKING:
    from mumu_jax.data.modalities.text.tfidf import Tfidf

GAZETTEER = "gazetteer"  # in DATA/text and in a run: links entities if no other linker's output is there
VOCABULARY = "vocabulary.json"  # in a run


@dataclass(frozen=True)
class Document:
    """An album's text, and what links its entities: a linker's output, else a gazetteer."""

    text: str
    entities: Path | None = None
    gazetteer: Path | None = None


@dataclass(frozen=True)
class FittedText:
    """A run's vocabulary, and the gazetteer that links entities in new texts."""

    tfidf: "Tfidf"
    gazetteer: Path | None


class Text(PreparedModality):
    """Reviews and other texts."""

    name, item, settings, sections = "text", "album", TextSettings, ("text", "tfidf")
    sees, files = "reviews and other texts", ".txt"
    versions: ClassVar[dict[str, str]] = {"linker": "2"}  # of `entities/`: another number if it finds other categories
    shard_records = 4096
    counts, uses_gazetteer = ("empty", "linked"), True
    in_process = True  # each process would hold the gazetteer, gigabytes for DBpedia; one links all of MuMu in seconds

    def inputs(self, album: Album, folder: Path) -> Iterator[tuple[str, Document | None]]:
        """Yield the album's id and text."""
        gazetteer = folder / GAZETTEER if (folder / GAZETTEER).exists() else None
        yield album.album_id, None if album.text is None else Document(album.text, album.entities, gazetteer)

    def read(self, source: Document, settings: TextSettings) -> Content:
        """Return a text's first `max_chars` characters and its categories; none if the linker's output is damaged.

        Raises UserError if the gazetteer is not one.
        """
        stored, categories, damaged = source.text[: settings.max_chars], (), None
        text = plain(stored)
        try:
            categories = categories_of(text, source.entities, source.gazetteer, len(stored))
        except Rejected as rejected:
            assert source.entities is not None
            damaged = source.entities, rejected
        counts = {"empty": int(not text.strip()), "linked": int(bool(categories))}
        return Content({"text": text, "categories": categories}, counts, damaged)

    def exists(self, source: Document) -> bool:
        """Return True: a text is in the manifest."""
        return True

    def state(self, source: Document) -> Any:
        """Return the hash of the text as it is read, and the states of what links its entities."""
        entities = source.entities and path_state(source.entities)
        gazetteer = source.gazetteer and _sha256(source.gazetteer, file_state(source.gazetteer))
        return hashlib.sha256(plain(source.text).encode("utf-8", "surrogatepass")).hexdigest(), entities, gazetteer

    def fields(self, settings: TextSettings) -> dict[str, base.Field]:
        return {"text": base.Text(), "categories": base.Texts()}

    def fit(self, records: Iterable[Mapping[str, Any]], folder: Path, config: Config) -> FittedText:
        """Fit the vocabulary.  Raises UserError if no term (or no category, if categories are on) is left."""
        from mumu_jax.data.modalities.text.tfidf import CATEGORY, fit_tfidf

        tfidf = fit_tfidf(records, config.tfidf)
        if config.tfidf.categories and not any(term.startswith(CATEGORY) for term in tfidf.terms):
            raise UserError(
                f"no training text of {folder} has a category among its terms: prepare with --gazetteer or "
                "--entities_dir, or train without (text_vsm)"
            )
        return FittedText(tfidf, _gazetteer_in(folder, config))

    def save(self, fitted: FittedText, workdir: Path) -> None:
        """Write the vocabulary, and copy the gazetteer."""
        fitted.tfidf.save(workdir / VOCABULARY)
        (workdir / GAZETTEER).unlink(missing_ok=True)  # of a start that was killed before it was a run
        if fitted.gazetteer is not None:
            with replacing(workdir / GAZETTEER) as path:
                shutil.copyfile(fitted.gazetteer, path)

    def load(self, workdir: Path, config: Config) -> FittedText:
        from mumu_jax.data.modalities.text.tfidf import load_tfidf

        return FittedText(load_tfidf(workdir / VOCABULARY), _gazetteer_in(workdir, config))

    def shape(self, config: Config, fitted: FittedText | None) -> Any:
        """Return one value a row; a row may have any number."""
        from mumu_jax.batch import Sparse

        columns, values = Spec((1,), np.dtype(np.int32)), Spec((1,), np.dtype(np.float32))
        return Sparse(columns, values, len(fitted.tfidf.terms) if fitted else config.tfidf.n_terms)

    def arrays(self, records: Iterable[Mapping[str, Any]], config: Config, fitted: FittedText) -> Any:
        return fitted.tfidf.transform(records)

    def is_one(self, path: Path) -> bool:
        return path.suffix.lower() == ".txt"

    def read_file(self, path: Path, config: Config, fitted: FittedText) -> Read:
        """Read the beginning of a text, as far as training texts went, and link the entities in it."""
        document = Document(read_text(path, config.text.max_chars), gazetteer=fitted.gazetteer)
        return Read(path, [self.read(document, config.text).fields])

    def describe(self, config: Config, fitted: FittedText) -> tuple[str, str]:
        more = ", and `category:NAME` for those of the entities in it" if config.tfidf.categories else ""
        return (
            "two arrays, int32 [n, m] and float32 [n, m]: of each text the places of its terms in `vocabulary.json` "
            "and their tf-idf, (1 + ln count) · idf, divided by the row's length; rows of fewer than m terms end with "
            f"zeros. Terms are the words of the first {config.text.max_chars:,} characters (lower case, two letters or "
            f"more{more})."
        ), "columns, values = np.array([[0, 1, 2, 0]] * 2, np.int32), np.array([[0.6, 0.6, 0.5, 0]] * 2, np.float32)"


def _gazetteer_in(folder: Path, config: Config) -> Path | None:
    path = folder / GAZETTEER
    return path if config.tfidf.categories and path.exists() else None


@lru_cache(maxsize=4)
def _sha256(path: Path, state: Any) -> str:
    return sha256_of(path)
