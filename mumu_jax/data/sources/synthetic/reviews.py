"""The reviews of an album: shared filler, words that its genres favour, made-up names, misleading mentions."""

from collections.abc import Sequence

import numpy as np

from mumu_jax.data.sources.synthetic.gazetteer import NAMES
from mumu_jax.data.sources.synthetic.genres import BRANCHES, with_parents

# How hard the genres are to read.  More of the first two, or fewer telling sentences, and text alone scores lower.
WORD_LEAK = 0.40  # chance that a telling word belongs to a genre that the album does not have
NAME_LEAK = 0.25  # the same for a name
TELLING = 0.35  # chance of a sentence with telling words
NAMING = 0.30  # chance of a sentence with a name

N_REVIEWS = (2, 5)
N_SENTENCES = (3, 7)  # a review

WORDS = {
    "Pop": "hooks, chorus, catchy, radio, singles, melody, charts, sing-along",
    "Vocal Pop": "crooner, standards, orchestra, timeless voice, songbook, romantic, strings",
    "Dance Pop": "dancefloor, remix, diva, club, glitter, beats, party",
    "Adult Contemporary": "soothing, ballad, smooth, grown-up, easy listening, tender, mellow",
    "Rock": "band, riff, guitar, drummer, live show, amps, solo",
    "Progressive Rock": "concept album, epic, time signatures, suite, mellotron, twenty minutes, prog",
    "Blues Rock": "bluesy, slide, twelve bars, gritty, jam, boogie, Strat",
    "Surf Rock": "reverb, waves, beach, instrumental, twang, sixties, summer",
    "Dance & Electronic": "synth, electronic, producer, samples, DJ, sequencer, drum machine",
    "Techno": "techno, pounding, warehouse, minimal, Berlin, acid, relentless",
    "House": "house, groove, four-on-the-floor, Chicago, piano stabs, soulful, vinyl",
    "Ambient": "drones, atmosphere, sleep, soundscape, drifting, textures, headphones",
    "Jazz": "swing, improvisation, quartet, sideman, horn, session, standards",
    "Vocal Jazz": "scat, phrasing, sultry, torch songs, Ella, cabaret, singer",
    "Bebop": "bop, changes, trumpet, Blue Note, breakneck, alto, virtuoso",
    "Rap & Hip-Hop": "rhymes, flow, MC, dope, mixtape, verses, lyricist",
    "Gangsta & Hardcore": "gangsta, streets, hustle, thug, explicit, bass in my ride, hood",
    "Country": "Nashville, country, fiddle, pickup, heartland, cowboy, honest",
    "Classic Country": "honky-tonk, pedal steel, Opry, heartbreak, whiskey, Hank, jukebox",
    "Bluegrass": "banjo, mandolin, picking, mountain, harmonies, Kentucky, acoustic",
    "Metal": "metal, heavy, headbang, shredding, double bass, crushing, mosh",
    "Death Metal": "brutal, growls, blast beats, death, grind, gore, guttural",
    "Reggae": "Jamaica, reggae, roots, riddim, Kingston, island, irie",
    "Dub": "dub, echo, version, sound system, mixing desk, bassline, delay",
}
VOCABULARY = {genre: words.split(", ") for genre, words in WORDS.items()}

TELLING_SENTENCES = (
    "The {a} and the {b} make it for me.",
    "All the {a} you could want, and some {b} too.",
    "Best {a} I have heard in years.",
    "If {a} and {b} are your thing, do not hesitate.",
    "Some will say too much {a}; I say more {b}.",
    "My brother calls it {a}, and he has a point.",
    "It is not really {a}, whatever the sticker says.",
    "Track {n} is pure {a}.",
)
NAMING_SENTENCES = (
    "It reminds me of {name}.",
    "I saw {name} years ago and this brings it all back.",
    "Fans of {name} will feel at home.",
    "You can hear how much they owe to {name}.",
    "Somewhere between {name} and {other}.",
)
FILLER = (
    "I bought this for my {who} and we both {like} it.",
    "Shipping was {quality} and the case arrived {state}.",
    "I have played it {often} since it arrived.",
    "The sound is {quality}, the price is {quality}.",
    "Five stars for track {n} alone.",
    "The first half is {quality}, the second half less so.",
    "This is their {quality} work, no doubt.",
    "The cassette came {state}, so I bought it again.",
    "Not what I expected, but I {like} it.",
    "The booklet is {quality} and the notes are worth reading.",
    "My {who} says it all sounds the same.",
    "Track {n} gives me goosebumps {often}.",
    "Buy it, you will {like} it.",
    "The remaster is {quality}.",
    "It takes a few listens, then you {like} it.",
)
CHOICES = {
    "who": "wife, husband, sister, neighbour, daughter, uncle, teacher, roommate",
    "like": "love, like, hate, adore, respect, cannot stop playing",
    "quality": "great, fine, so-so, terrible, wonderful, decent, disappointing, superb",
    "state": "broken, late, in perfect shape, scratched, after a month, unharmed",
    "often": "every day, twice, on every drive, all week, at work, on Sundays",
    "n": "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12",
}


def write_reviews(branches: tuple[str, ...], rng: np.random.Generator) -> str:
    """The album's reviews, a line each: a few hundred to about 1,500 characters."""
    return "\n".join(
        " ".join(_sentence(branches, rng) for _ in range(rng.integers(N_SENTENCES[0], N_SENTENCES[1] + 1)))
        for _ in range(rng.integers(N_REVIEWS[0], N_REVIEWS[1] + 1))
    )


def _sentence(branches: tuple[str, ...], rng: np.random.Generator) -> str:
    slots = {slot: _pick(choices.split(", "), rng) for slot, choices in CHOICES.items()}
    kind = rng.random()
    if kind < TELLING:
        a, b = (_pick(VOCABULARY[_genre(branches, WORD_LEAK, rng)], rng) for _ in range(2))
        return _pick(TELLING_SENTENCES, rng).format(a=a, b=b, **slots)
    if kind < TELLING + NAMING:
        name, other = (_pick(NAMES[_genre(branches, NAME_LEAK, rng)], rng) for _ in range(2))
        return _pick(NAMING_SENTENCES, rng).format(name=name, other=other)
    return _pick(FILLER, rng).format(**slots)


def _pick(choices: Sequence[str], rng: np.random.Generator) -> str:
    return choices[int(rng.integers(len(choices)))]


def _genre(branches: tuple[str, ...], leak: float, rng: np.random.Generator) -> str:
    """One of the album's genres, or any genre with the chance `leak`."""
    return _pick(list(BRANCHES) if rng.random() < leak else with_parents(branches), rng)
