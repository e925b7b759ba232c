"""Amazon's reviews: the text of every album, and how many reviews it has."""

import reprlib
from collections import Counter
from collections.abc import Container
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mumu_jax.data.sources.mumu.json_records import read_records
from mumu_jax.data.sources.mumu.rejections import Reject

ID_KEYS = ("amazon_id", "asin")
TEXT_KEY = "reviewText"
KEYS = frozenset(
    {
        *(*ID_KEYS, TEXT_KEY, "summary", "overall", "helpful", "unixReviewTime", "reviewTime"),
        *("reviewerID", "reviewerName"),
    }
)


@dataclass(frozen=True)
class Reviews:
    """By album, the joined text where it is not empty and the number of reviews; and how many are of other albums."""

    texts: dict[str, str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    n_of_others: int = 0


def read_reviews(path: Path, albums: Container[str], max_chars: int, reject: Reject) -> Reviews:
    """The reviews of `albums`: their texts in the file's order, a line break between, cut at `max_chars` characters.

    A review may lack a text.  Raises UserError where the file holds no records.
    """
    texts: dict[str, str] = {}
    counts: Counter[str] = Counter()
    n_of_others = 0
    for line, key, review in read_records(path, KEYS, reject):
        album_id, text = _review(key, review)
        if album_id is None or text is None:
            expected = f"{TEXT_KEY!r} to be a string" if album_id else f"one of {', '.join(ID_KEYS)}"
            reject(line, "malformed", f"expected {expected}, found {reprlib.repr(review)}")
        elif album_id not in albums:
            n_of_others += 1
        else:
            counts[album_id] += 1
            before = texts.get(album_id, "")
            if text.strip() and len(before) < max_chars:
                texts[album_id] = (f"{before}\n{text[:max_chars]}" if before else text)[:max_chars]
    return Reviews({album_id: _encodable(text) for album_id, text in texts.items()}, counts, n_of_others)


def _review(key: str | None, review: Any) -> tuple[str | None, str | None]:
    """(album, text) of a review; None for what is not a string."""
    if isinstance(review, str):
        return key, review
    if not isinstance(review, dict):
        return key, None
    album_id = next((review[name] for name in ID_KEYS if name in review), key)
    text = review.get(TEXT_KEY)
    text = "" if text is None else text
    return (album_id if isinstance(album_id, str) else None), (text if isinstance(text, str) else None)


def _encodable(text: str) -> str:
    """Halves of surrogate pairs, which may stand in JSON but not in UTF-8, joined or replaced by U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
