"""The taxonomy of the mini dataset: 8 top-level genres and 16 below them, named as in Amazon's shop."""

from mumu_jax.data.manifest import Label

# A branch (its lowest genre) -> (the genre above it, how often albums take the branch, words that its reviews favour).
# Long-tailed, as in MuMu.
BRANCHES: dict[str, tuple[str | None, float, str]] = {
    "Pop": (None, 9.0, "hooks, chorus, catchy, radio, singles, melody, charts, sing-along"),
    "Vocal Pop": ("Pop", 7.0, "crooner, standards, orchestra, timeless voice, songbook, romantic, strings"),
    "Dance Pop": ("Pop", 6.0, "dancefloor, remix, diva, club, glitter, beats, party"),
    "Adult Contemporary": ("Pop", 4.5, "soothing, ballad, smooth, grown-up, easy listening, tender, mellow"),
    "Rock": (None, 7.0, "band, riff, guitar, drummer, live show, amps, solo"),
    "Progressive Rock": ("Rock", 5.0, "concept album, epic, time signatures, suite, mellotron, prog"),
    "Blues Rock": ("Rock", 4.5, "bluesy, slide, twelve bars, gritty, jam, boogie, Strat"),
    "Surf Rock": ("Rock", 3.5, "reverb, waves, beach, instrumental, twang, sixties, summer"),
    "Dance & Electronic": (None, 2.0, "synth, electronic, producer, samples, DJ, sequencer, drum machine"),
    "Techno": ("Dance & Electronic", 4.5, "techno, pounding, warehouse, minimal, Berlin, acid, relentless"),
    "House": ("Dance & Electronic", 4.0, "house, groove, four-on-the-floor, Chicago, soulful, vinyl"),
    "Ambient": ("Dance & Electronic", 3.5, "drones, atmosphere, sleep, soundscape, drifting, textures"),
    "Jazz": (None, 2.0, "swing, improvisation, quartet, sideman, horn, session, standards"),
    "Vocal Jazz": ("Jazz", 4.0, "scat, phrasing, sultry, torch songs, Ella, cabaret, singer"),
    "Bebop": ("Jazz", 3.5, "bop, changes, trumpet, Blue Note, breakneck, alto, virtuoso"),
    "Rap & Hip-Hop": (None, 3.0, "rhymes, flow, MC, dope, mixtape, verses, lyricist"),
    "Gangsta & Hardcore": ("Rap & Hip-Hop", 4.0, "gangsta, streets, hustle, thug, explicit, hood, ride"),
    "Country": (None, 1.5, "Nashville, country, fiddle, pickup, heartland, cowboy, honest"),
    "Classic Country": ("Country", 3.5, "honky-tonk, pedal steel, Opry, heartbreak, whiskey, Hank, jukebox"),
    "Bluegrass": ("Country", 3.5, "banjo, mandolin, picking, mountain, harmonies, Kentucky, acoustic"),
    "Metal": (None, 2.0, "metal, heavy, headbang, shredding, double bass, crushing, mosh"),
    "Death Metal": ("Metal", 3.5, "brutal, growls, blast beats, death, grind, gore, guttural"),
    "Reggae": (None, 2.0, "Jamaica, reggae, roots, riddim, Kingston, island, irie"),
    "Dub": ("Reggae", 3.5, "dub, echo, version, sound system, mixing desk, bassline, delay"),
}

LABELS = [Label(name, parent) for name, (parent, _, _) in sorted(BRANCHES.items())]
VOCABULARY = {name: words.split(", ") for name, (_, _, words) in BRANCHES.items()}


def with_parents(branches: tuple[str, ...]) -> tuple[str, ...]:
    """Return all genres on the branches, sorted: an album carries all of them (Oramas et al. 2017, section 3)."""
    parents = (BRANCHES[branch][0] for branch in branches)
    return tuple(sorted({*branches, *filter(None, parents)}))
