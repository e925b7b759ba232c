"""Surface forms: which strings name an entity, which entity if several share one, and how a text must write them.

An entity is a DBpedia resource with at least one category.  Pages of other namespaces (`Category:`, `File:`, …),
`List of …` and disambiguation pages are not entities.  An entity's surface forms are its title, and the titles that
redirect to it, without a parenthesis at the end: `Queen` for `Queen (band)`.  A surface form has 3 characters or more,
one of them a letter, and 12 words at most, and does not consist of English stop words (scikit-learn's list): `The Who`
and `Them` are not surface forms.

An entity whose title has a parenthesis counts only if it is about music: a category speaks of albums, songs, singers,
bands, ….  If several entities share a surface form, ignoring case, the one with at least twice as many categories as
any other is chosen, since much is written about what is well known (`Prince (musician)`, not `Prince`); else the only
one whose title has no parenthesis (`Boston`, not `Boston (band)`); else the form is dropped.

In a text whole words match: from left to right, the longest surface form that begins there and is written as a name,
either exactly like the surface form or with a capital at the beginning of each word except stop words: `The Dark Side
of the Moon` and `THE DARK SIDE OF THE MOON`, not `the dark side`.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import NamedTuple

MIN_CHARACTERS, MAX_WORDS = 3, 12
PROMINENT = 2  # this many times the categories of the next entity

_PARENTHESIS = re.compile(r"\s+\([^()]*\)$")
_WORD = re.compile(r"\w+")
_NOT_AN_ENTITY = re.compile(
    r"(Category|File|Template|Portal|Wikipedia|Help|Module|MediaWiki|User|Draft|TimedText|Book):"
    r"|Lists?_of_|.*_\(disambiguation\)$"
)
_MUSIC = re.compile(
    r"(?:^|[_-])(music\w*|albums?|songs?|singles|singers?|songwriters?|bands?|rappers?|composers?"
    r"|guitarists|drummers|pianists|Records_artists)(?:$|[_-])",
    re.IGNORECASE,
)
# Each character becomes one character, so that places in a folded text are places in the text.  White space becomes a
# space and apostrophes become straight.  Also replaced are the only letter whose lower case has two characters, and
# surrogates, which JSON's escapes can spell and UTF-8 cannot.
_ALIKE = str.maketrans(
    {
        **dict.fromkeys("\0\t\n\v\f\r\x85\xa0\u2028\u2029", " "),
        **dict.fromkeys(map(chr, range(0xD800, 0xE000)), "\ufffd"),
        **{"’": "'", "‘": "'", "İ": "i"},
    }
)


class Candidate(NamedTuple):
    """A surface form that may name an entity; `exact` if the page's title has no parenthesis."""

    surface: str
    entity: str
    exact: bool


def fold(text: str) -> str:
    """Return the text in the form in which texts and names are compared; it has as many characters."""
    return text.translate(_ALIKE).lower()


def is_entity(resource: str) -> bool:
    return _NOT_AN_ENTITY.match(resource) is None


def candidate(title: str, entity: str) -> Candidate | None:
    """Return the surface form in a page's title, None if the rule allows none."""
    surface = _PARENTHESIS.sub("", title)
    words = _WORD.findall(surface.lower())
    allowed = (
        len(surface) >= MIN_CHARACTERS
        and len(words) <= MAX_WORDS
        and any(map(str.isalpha, surface))
        and not _stop_words().issuperset(words)
    )
    return Candidate(surface, entity, surface == title) if allowed else None


def choose(candidates: Sequence[Candidate], categories: Mapping[str, Sequence[str]]) -> Candidate | None:
    """Return the candidate that a surface form means, None if that is unclear; each is of another entity."""
    allowed = [one for one in candidates if one.exact or any(map(_MUSIC.search, categories[one.entity]))]
    ranked = sorted(allowed, key=lambda one: len(categories[one.entity]), reverse=True)
    if len(ranked) > 1 and len(categories[ranked[0].entity]) < PROMINENT * len(categories[ranked[1].entity]):
        exact = [one for one in ranked if one.exact]
        return exact[0] if len(exact) == 1 else None
    return ranked[0] if ranked else None


def is_written_as_name(fragment: str, surface: str) -> bool:
    return fragment == surface or not any(
        word[0].islower() and word.lower() not in _stop_words() for word in fragment.split()
    )


@cache
def _stop_words() -> frozenset[str]:
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS  # slow to import, and few need it

    return ENGLISH_STOP_WORDS
