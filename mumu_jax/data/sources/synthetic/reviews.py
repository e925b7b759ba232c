"""The reviews of an album: shared filler, words that its genres favour, made-up names, misleading mentions.

Words are the common clue, but many belong to other genres.  Names mislead less; most are read once or twice in
training, and only their categories in the gazetteer make them known: entities tell more than words alone.  All genres
read alike, so that the frequent ones are the easy ones (Pop, Rock), and those that share an album's sentences with
several others the hard ones (Blues Rock, Adult Contemporary).
"""

import numpy as np

from mumu_jax.data.sources.synthetic.genres import BRANCHES, VOCABULARY, with_parents

# How hard the genres are to read.  More of the first two, or less of the others, and text alone scores lower.
WORD_STRAY = 0.33  # chance that a telling word belongs to a genre that the album does not have
NAME_STRAY = 0.30  # the same for a name
TELLING = 0.35  # chance of a sentence with telling words
NAMING = 0.30  # chance of a sentence with a name

N_REVIEWS = (2, 5)
N_SENTENCES = (3, 7)  # a review

TELLING_SENTENCES = (
    "The {a} and the {b} make it for me.",
    "Best {a} I have heard in years.",
    "If {a} and {b} are your thing, do not hesitate.",
    "It is not really {a}, whatever the sticker says.",
)
NAMING_SENTENCES = (
    "I saw {a} years ago and this brings it all back.",
    "You can hear how much they owe to {a}.",
    "Somewhere between {a} and {b}.",
)
FILLER = (
    "I bought this for my sister and we both love it.",
    "Shipping was terrible and the case arrived scratched.",
    "I have played it on every drive since it arrived.",
    "The first half is great, the second half less so.",
    "The booklet is superb and the notes are worth reading.",
    "It takes a few listens, then you cannot stop playing it.",
)
FIRST = "Abel Bettina Cyrus Delphine Emmett Fern Gideon Hattie Ivo June Kester Lorna Milo Nadine Orson Petra"
LAST = [
    f"{front}{back}" for front in ("Bar", "Dor", "Esk", "Fen", "Hal", "Lom") for back in ("ven", "gor", "pra", "wil")
]


# Pairs of a first and a last name, dealt among the genres so that neither part tells the genre
PEOPLE = np.random.default_rng(0).permutation([f"{first} {last}" for first in FIRST.split() for last in LAST])
NAMES = {genre: PEOPLE[i :: len(BRANCHES)].tolist() for i, genre in enumerate(BRANCHES)}
# A name -> a category that tells the genre, and one that does not
GAZETTEER = {name: (f"{genre} musicians", "Living people") for genre, names in NAMES.items() for name in names}


def write_reviews(branches: tuple[str, ...], rng: np.random.Generator) -> str:
    """Return the album's reviews, a line each: a few hundred to about 1,500 characters."""
    return "\n".join(
        " ".join(_sentence(branches, rng) for _ in range(rng.integers(*N_SENTENCES, endpoint=True)))
        for _ in range(rng.integers(*N_REVIEWS, endpoint=True))
    )


def _sentence(branches: tuple[str, ...], rng: np.random.Generator) -> str:
    kind = rng.random()
    if kind < NAMING:
        sentences, mentions, stray = NAMING_SENTENCES, NAMES, NAME_STRAY
    elif kind < NAMING + TELLING:
        sentences, mentions, stray = TELLING_SENTENCES, VOCABULARY, WORD_STRAY
    else:
        return str(rng.choice(FILLER))
    a, b = (rng.choice(mentions[_genre(branches, stray, rng)]) for _ in range(2))
    return str(rng.choice(sentences)).format(a=a, b=b)


def _genre(branches: tuple[str, ...], stray: float, rng: np.random.Generator) -> str:
    """Return one of the album's genres, or any genre with the chance `stray`."""
    return str(rng.choice(list(BRANCHES) if rng.random() < stray else with_parents(branches)))
