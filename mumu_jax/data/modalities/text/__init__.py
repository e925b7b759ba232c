"""Prepared text: a record an album, the beginning of its reviews and the categories of the entities named in it.

Oramas et al. 2017, section 5.2.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from mumu_jax.config import TextSettings
from mumu_jax.data.manifest import Album, Rejected
from mumu_jax.data.modalities.base import Content, Modality, file_state, path_state
from mumu_jax.data.modalities.text.entities import categories_of

GAZETTEER = "gazetteer"  # in DATA/text and in a run: what links entities where no other linker's output is there


@dataclass(frozen=True)
class Document:
    """An album's text, and what its entities are found by: a linker's output, else a gazetteer."""

    text: str
    entities: Path | None = None
    gazetteer: Path | None = None


def _inputs(album: Album, folder: Path) -> Iterator[tuple[str, Document | None]]:
    gazetteer = folder / GAZETTEER if (folder / GAZETTEER).exists() else None
    yield album.album_id, None if album.text is None else Document(album.text, album.entities, gazetteer)


def read_document(document: Document, settings: TextSettings) -> Content:
    """Its first `max_chars` characters and the categories in them; none where the linker's output is damaged.

    Raises UserError where the gazetteer is none.
    """
    text, categories, damaged = document.text[: settings.max_chars], (), None
    try:
        categories = categories_of(text, document.entities, document.gazetteer)
    except Rejected as rejected:
        assert document.entities is not None
        damaged = document.entities, rejected
    counts = {"empty": int(not text.strip()), "linked": int(bool(categories))}
    return Content({"text": text, "categories": categories}, counts, damaged)


def _exists(document: Document) -> bool:
    return True


def _state(document: Document) -> Any:
    entities = document.entities and path_state(document.entities)
    gazetteer = document.gazetteer and _sha256(document.gazetteer, file_state(document.gazetteer))
    return hashlib.sha256(document.text.encode("utf-8", "surrogatepass")).hexdigest(), entities, gazetteer


@lru_cache(maxsize=4)
def _sha256(path: Path, state: Any) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _features(settings: TextSettings) -> dict[str, Any]:
    return {"text": tfds.features.Text(), "categories": tfds.features.Sequence(tfds.features.Text())}


def _encode(fields: Mapping[str, Any]) -> dict[str, list[bytes]]:
    texts = {"text": [fields["text"]], "categories": fields["categories"]}
    return {name: [text.encode("utf-8", "surrogatepass") for text in of] for name, of in texts.items()}


def _decode(fields: Mapping[str, list[Any]], settings: TextSettings) -> dict[str, Any]:
    text, *_ = fields["text"]
    categories = tuple(bytes(one).decode("utf-8", "surrogatepass") for one in fields["categories"])
    return {"text": bytes(text).decode("utf-8", "surrogatepass"), "categories": categories}


MODALITY = Modality(
    name="text",
    item="album",
    settings=TextSettings,
    inputs=_inputs,
    read=read_document,
    exists=_exists,
    state=_state,
    features=_features,
    encode=_encode,
    decode=_decode,
    versions={"linker": "2"},  # of `data/entities`: another number where it finds other categories
    shard_records=4096,
    counts=("empty", "linked"),
    in_process=True,  # each process would hold the gazetteer, gigabytes for DBpedia; one links all of MuMu in seconds
)
