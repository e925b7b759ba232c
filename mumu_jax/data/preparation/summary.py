"""What `prepare` says at its end."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mumu_jax.data.modalities import MODALITIES
from mumu_jax.data.modalities.base import PreparedModality

REJECTED, MISSING, DUPLICATES = "rejected.jsonl", "missing.jsonl", "duplicates.jsonl"
GENRES_SHOWN = 8
BAD_FILES_ALLOWED = 3  # however few files there are


@dataclass(frozen=True)
class Summary:
    """What was done.

    `splits` are those of `prepared.json`, by modality, for those that were prepared now; `rejected` counts by reason;
    `notes` are further lines.
    """

    data_dir: Path
    splits: dict[str, dict[str, dict[str, Any]]]
    genres: dict[str, int]
    rejected: dict[str, int]
    n_new: int
    seconds: float
    max_bad: float
    notes: Sequence[str] = ()

    @property
    def too_bad(self) -> dict[str, tuple[int, int]]:
        """Of each modality with too many damaged files: how many there are, of how many files that are there."""
        bad = {name: sum(split["rejected"] for split in splits.values()) for name, splits in self.splits.items()}
        there = {
            name: bad[name] + sum(split["records"] for split in splits.values()) for name, splits in self.splits.items()
        }
        return {
            name: (bad[name], there[name])
            for name in bad
            if bad[name] > max(BAD_FILES_ALLOWED, self.max_bad * there[name])
        }

    def __str__(self) -> str:
        lines = [line for name, splits in self.splits.items() for line in _table(MODALITIES[name], splits)]
        reasons = ", ".join(f"{n:,} {reason}" for reason, n in sorted(self.rejected.items()))
        if reasons:
            lines.append(f"rejected: {reasons}; each is listed in {self.data_dir / REJECTED}")
        if any(split["missing"] for splits in self.splits.values() for split in splits.values()):
            lines.append(f"what is missing is listed in {self.data_dir / MISSING}")
        shown = sorted(self.genres.items(), key=lambda item: (-item[1], item[0]))[:GENRES_SHOWN]
        more = ", …" if len(self.genres) > GENRES_SHOWN else ""
        lines.append(f"{len(self.genres)} genres, by albums: {', '.join(f'{g} {n:,}' for g, n in shown)}{more}")
        lines += self.notes
        done = f"{self.n_new:,} items read" if self.n_new else "nothing to do: all was prepared before"
        lines.append(f"{done}, in {self.seconds:.0f} s; the data lies in {self.data_dir}")
        return "\n".join(lines)


def _table(modality: PreparedModality, splits: dict[str, dict[str, Any]]) -> Iterator[str]:
    """A modality's counts, a line a split."""
    columns = ["albums", *(["records"] if modality.item == "track" else []), "missing", "rejected", *modality.counts]
    titles = ({"records": modality.unit, "seconds": "hours"}.get(column, column) for column in columns)
    yield f"{modality.name:<8}" + "".join(f"{title:>10}" for title in titles)
    for name, split in splits.items():
        cells = (f"{split[c] / 3600:.2f}" if c == "seconds" else f"{split[c]:,.0f}" for c in columns)
        yield f"  {name:<6}" + "".join(f"{cell:>10}" for cell in cells)
