"""The taxonomy of the mini dataset: 8 top-level genres and 16 below them, named as in Amazon's shop."""

from mumu_jax.data.manifest import Label

# A branch (its lowest genre) -> (the genre above it, how often albums take the branch).  Long-tailed, as in MuMu.
BRANCHES: dict[str, tuple[str | None, float]] = {
    "Pop": (None, 9.0),
    "Vocal Pop": ("Pop", 7.0),
    "Dance Pop": ("Pop", 6.0),
    "Adult Contemporary": ("Pop", 4.5),
    "Rock": (None, 7.0),
    "Progressive Rock": ("Rock", 5.0),
    "Blues Rock": ("Rock", 4.5),
    "Surf Rock": ("Rock", 3.5),
    "Dance & Electronic": (None, 2.0),
    "Techno": ("Dance & Electronic", 4.5),
    "House": ("Dance & Electronic", 4.0),
    "Ambient": ("Dance & Electronic", 3.5),
    "Jazz": (None, 2.0),
    "Vocal Jazz": ("Jazz", 4.0),
    "Bebop": ("Jazz", 3.5),
    "Rap & Hip-Hop": (None, 3.0),
    "Gangsta & Hardcore": ("Rap & Hip-Hop", 4.0),
    "Country": (None, 1.5),
    "Classic Country": ("Country", 3.5),
    "Bluegrass": ("Country", 3.5),
    "Metal": (None, 2.0),
    "Death Metal": ("Metal", 3.5),
    "Reggae": (None, 2.0),
    "Dub": ("Reggae", 3.5),
}

LABELS = [Label(name, parent) for name, (parent, _) in sorted(BRANCHES.items())]


def with_parents(branches: tuple[str, ...]) -> tuple[str, ...]:
    """Every genre on the given branches, sorted: an album carries all of them (Oramas et al. 2017, section 3)."""
    parents = (BRANCHES[branch][0] for branch in branches)
    return tuple(sorted({*branches, *filter(None, parents)}))
