"""The lyrics of a track: verses and a refrain on the theme of one of the album's genres, by a small grammar.

A theme belongs to a place in a family, not to a genre: the first sub-genres of Pop, Rock and Jazz sing of the same
things, and only beside a word of the family does a theme tell the genre.  So of an album of several genres the words
tell well what is hard to hear (`sound`), such as Pop from Adult Contemporary.  Genres without singers have no words of
their own: of these, only the sound tells.
"""

import numpy as np

from mumu_jax.data.sources.synthetic.genres import BRANCHES

# How hard the genres are to read.  More of these, and the lyrics alone score lower.
STRAY = 0.05  # chance that a line is on the theme of a genre that the album does not have
FAMILY_STRAY = 0.05  # chance that a family's word is another's
PLAIN = 0.10  # chance of a line that tells nothing
FAMILIAR = 0.50  # chance that a word of the family stands beside one of the theme
UNSUNG = ("Surf Rock", "Techno", "Ambient", "Bebop")  # genres whose lines all are plain

N_VERSES = (2, 3)
N_LINES = 4  # of a verse; a refrain has half as many

# Of top-level genres, and of the first, second and third genre below each
THEMES = (
    ("promise", "letter", "window", "morning", "garden", "ring", "kitchen", "photograph", "birthday", "sunday"),
    ("moon", "whisper", "mirror", "shadow", "secret", "stranger", "midnight", "silence", "ghost", "perfume"),
    ("fire", "crowd", "engine", "highway", "thunder", "neon", "traffic", "lightning", "siren", "engineer"),
    ("river", "island", "harbour", "sail", "valley", "feather", "meadow", "winter", "lantern", "snow"),
)
FAMILIES = {
    "Pop": ("darling", "telephone", "starlight"),
    "Rock": ("leather", "jukebox", "rebel"),
    "Dance & Electronic": ("machine", "strobe", "signal"),
    "Jazz": ("smoke", "cocktail", "avenue"),
    "Rap & Hip-Hop": ("corner", "hustle", "crown"),
    "Country": ("truck", "porch", "saddle"),
    "Metal": ("blood", "throne", "ashes"),
    "Reggae": ("jah", "herb", "zion"),
}
TELLING_LINES = (
    "I remember the {a} and the {b}",
    "{a}, {a}, you never let me go",
    "tonight there is a {a} behind the {b}",
    "all I ever wanted was the {a}",
    "we were lost between the {a} and the {b}, oh yeah",
    "take my hand and leave the {a} alone",
)
PLAIN_LINES = (
    "oh baby, baby, I don't know why",
    "and I will love you till the day I die",
    "na na na, hey hey, come on",
    "nobody ever told me how it feels",
    "you know I'm coming home again",
    "time goes by and I am still the same",
)


def write_lyrics(branches: tuple[str, ...], rng: np.random.Generator) -> str:
    """Return a song of 80 to 170 words: its refrain, which comes again, behind each verse."""
    refrain = "\n".join(_line(branches, rng) for _ in range(N_LINES // 2))
    n_verses = int(rng.integers(*N_VERSES, endpoint=True))
    verses = ("\n".join(_line(branches, rng) for _ in range(N_LINES)) for _ in range(n_verses))
    return "\n\n".join(part for verse in verses for part in (verse, refrain)) + "\n"


def theme_of(branch: str) -> tuple[str, ...]:
    """Return the words of a genre's theme, by its place in its family."""
    family = BRANCHES[branch][0]
    below = [name for name, (parent, _, _) in BRANCHES.items() if parent == family]
    return THEMES[0 if family is None else 1 + below.index(branch)]


def _line(branches: tuple[str, ...], rng: np.random.Generator) -> str:
    branch = str(rng.choice(list(BRANCHES) if rng.random() < STRAY else branches))
    if branch in UNSUNG or rng.random() < PLAIN:
        return str(rng.choice(PLAIN_LINES))
    a, b = rng.choice(theme_of(branch), 2, replace=False)
    if rng.random() < FAMILIAR:
        families = list(FAMILIES) if rng.random() < FAMILY_STRAY else [BRANCHES[branch][0] or branch]
        b = rng.choice(FAMILIES[str(rng.choice(families))])
    first, second = rng.permutation([a, b])
    return str(rng.choice(TELLING_LINES)).format(a=first, b=second)
