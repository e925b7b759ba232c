"""Made-up people, bands and places that reviews mention, and the categories an encyclopaedia would give them."""

import numpy as np

from mumu_jax.data.sources.synthetic.genres import BRANCHES

N_NAMES = 18  # a genre: with 180 training albums most names are read once or twice, their categories often

# A category that tells the genre -> (names in it, a category that does not)
KINDS = {
    "{genre} musicians": ("{first} {last}", "Living people"),
    "{genre} ensembles": ("The {last} {group}", "Musical groups established in the 20th century"),
    "Places in the history of {genre}": ("{last} {place}", "Populated places"),
}
PARTS = {
    "first": "Abel Bettina Cyrus Delphine Emmett Fern Gideon Hattie Ivo June Kester Lorna Milo Nadine Orson Petra",
    "group": "Brothers Assembly Union Five Society Machine",
    "place": "Falls Junction Heights Harbour Hollow Mills",
    "syllable": "bar ven tol mir kas del rin gor hal sut fen lom pra que zan wil dor esk tam ulf",
}


def _invent() -> tuple[dict[str, tuple[str, ...]], dict[str, list[str]]]:
    """Distinct names, made of words that the names of all genres share; the same on every call."""
    rng = np.random.default_rng(0)
    gazetteer: dict[str, tuple[str, ...]] = {}
    names: dict[str, list[str]] = {genre: [] for genre in BRANCHES}
    for genre in BRANCHES:
        while len(names[genre]) < N_NAMES:
            telling, (pattern, general) = list(KINDS.items())[len(names[genre]) % len(KINDS)]
            words = {slot: str(rng.choice(choices.split())) for slot, choices in PARTS.items()}
            last = (words["syllable"] + str(rng.choice(PARTS["syllable"].split()))).capitalize()
            name = pattern.format(last=last, **words)
            if name not in gazetteer:
                gazetteer[name] = (telling.format(genre=genre), general)
                names[genre].append(name)
    return gazetteer, names


GAZETTEER, NAMES = _invent()  # name -> categories; genre -> names
