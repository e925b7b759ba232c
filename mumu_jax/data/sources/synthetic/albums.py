"""Which albums there are: their splits, genres, number of tracks."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mumu_jax.data.manifest import SPLITS
from mumu_jax.data.sources.synthetic.genres import BRANCHES, with_parents

N_ALBUMS = {"train": 180, "val": 40, "test": 200}
N_BRANCHES = (0.50, 0.38, 0.12)  # chance of an album on one, two, three branches of the taxonomy
MAX_TRACKS = {"train": 3, "val": 3, "test": 1}


@dataclass(frozen=True)
class Plan:
    """An album before it is made.  `key` seeds everything about it: (seed, split, number in the split)."""

    key: tuple[int, int, int]
    branches: tuple[str, ...]
    n_tracks: int

    @property
    def split(self) -> str:
        return SPLITS[self.key[1]]

    @property
    def genres(self) -> tuple[str, ...]:
        return with_parents(self.branches)

    @property
    def album_id(self) -> str:
        return f"mini{self.key[0]}-{self.split}-{self.key[2]:03d}"


def plan_albums(seed: int, n_albums: Mapping[str, int] = N_ALBUMS) -> list[Plan]:
    """All albums, split after split.  Every genre is on at least one in 22 of a split's albums, or on eight."""
    return [plan for split in SPLITS for plan in _plan_split(seed, split, n_albums.get(split, 0))]


def _plan_split(seed: int, split: str, n_albums: int) -> list[Plan]:
    """Draw the split until no genre is too rare; the draws are cheap and few are needed."""
    rng = np.random.default_rng((seed, SPLITS.index(split)))
    while True:
        plans = [
            Plan((seed, SPLITS.index(split), i), _draw_branches(rng), int(rng.integers(MAX_TRACKS[split])) + 1)
            for i in range(n_albums)
        ]
        count = Counter(genre for plan in plans for genre in plan.genres)
        if min(count[genre] for genre in BRANCHES) >= min(8, n_albums // 22):
            return plans


def _draw_branches(rng: np.random.Generator) -> tuple[str, ...]:
    """One to three branches, the frequent ones more often; none above another."""
    weights = np.array([weight for _, weight in BRANCHES.values()])
    n = rng.choice(len(N_BRANCHES), p=N_BRANCHES) + 1
    drawn = rng.choice(list(BRANCHES), size=n, replace=False, p=weights / weights.sum())
    above = {BRANCHES[branch][0] for branch in drawn}
    return tuple(str(branch) for branch in drawn if branch not in above)
