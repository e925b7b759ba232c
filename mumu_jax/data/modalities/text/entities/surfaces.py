"""Surface forms: which strings count as names of entities, of which entity where several share one, and how written.

An entity is a DBpedia resource with at least one category; pages of other namespaces (`Category:`, `File:`, …),
`List of …` and disambiguation pages are none.  Its surface forms are its title, and the titles that redirect to it,
without a parenthesis at the end: `Queen` for `Queen (band)`.  A surface form has 3 characters or more, one of them a
letter, and 12 words at most, and is not made of English stop words alone (scikit-learn's list): `The Who` and `Them`
are none.

An entity whose title has a parenthesis counts only if it is about music: a category speaks of albums, songs, singers,
bands, ….  Of several entities with one surface form, upper and lower case alike, the one with at least twice as many
categories as any other is taken, as much is written about what is well known (`Prince (musician)`, not `Prince`); else
the one whose title has no parenthesis (`Boston`, not `Boston (band)`); where that is not one, the form is dropped.

In a text whole words count, from left to right the longest surface form that begins there and is written as a name:
as the surface form is, or with a capital at the beginning of each of its words, stop words aside: `The Dark Side of the
Moon` and `THE DARK SIDE OF THE MOON`, not `the dark side`.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import NamedTuple

MIN_CHARACTERS, MAX_WORDS = 3, 12
PROMINENT = 2  # times as many categories as the next

_PARENTHESIS = re.compile(r"\s+\([^()]*\)$")
_WORD = re.compile(r"\w+")
_NO_ENTITY = re.compile(
    r"(Category|File|Template|Portal|Wikipedia|Help|Module|MediaWiki|User|Draft|TimedText|Book):"
    r"|Lists?_of_|.*_\(disambiguation\)$"
)
_MUSIC = re.compile(
    r"(?:^|[_-])(music\w*|albums?|songs?|singles|singers?|songwriters?|bands?|rappers?|composers?"
    r"|guitarists|drummers|pianists|Records_artists)(?:$|[_-])",
    re.IGNORECASE,
)
# One character for one, so that places in a folded text are those in the text: white space is a space, apostrophes
# are straight, and two things are replaced: the only letter whose lower case has two characters, and halves of
# characters, which JSON's escapes can spell and UTF-8 cannot.
_ALIKE = str.maketrans(
    {
        **dict.fromkeys("\0\t\n\v\f\r\x85\xa0\u2028\u2029", " "),
        **dict.fromkeys(map(chr, range(0xD800, 0xE000)), "\ufffd"),
        **{"’": "'", "‘": "'", "İ": "i"},
    }
)


class Candidate(NamedTuple):
    """A surface form as it is written, the entity, and whether the page's title is that form, without a parenthesis."""

    surface: str
    entity: str
    exact: bool


def fold(text: str) -> str:
    """What counts as the same when a text is matched; as many characters as `text`."""
    return text.translate(_ALIKE).lower()


def is_entity(resource: str) -> bool:
    return _NO_ENTITY.match(resource) is None


def candidate(title: str, entity: str) -> Candidate | None:
    """The surface form that a page's title gives; None where the rule allows none."""
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
    """The one that a surface form means, of different entities; None where that is not clear."""
    pool = [one for one in candidates if one.exact or any(map(_MUSIC.search, categories[one.entity]))]
    pool = sorted(pool, key=lambda one: len(categories[one.entity]), reverse=True)
    if len(pool) > 1 and len(categories[pool[0].entity]) < PROMINENT * len(categories[pool[1].entity]):
        pool = [one for one in pool if one.exact]
        return pool[0] if len(pool) == 1 else None
    return pool[0] if pool else None


def is_written_as_name(fragment: str, surface: str) -> bool:
    return fragment == surface or not any(
        word[0].islower() and word.lower() not in _stop_words() for word in fragment.split()
    )


@cache
def _stop_words() -> frozenset[str]:
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS  # here: it takes a second, and few need it

    return ENGLISH_STOP_WORDS
