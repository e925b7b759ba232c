"""Summary that `prepare` prints at its end."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mumu_jax.data.modalities import MODALITIES
from mumu_jax.data.modalities.base import PreparedModality

REJECTED, MISSING, SILENT = "rejected.jsonl", "missing.jsonl", "silent.jsonl"
GENRES_SHOWN = 8
BAD_FILES_ALLOWED = 3  # also in a small collection, where they exceed `max_bad`


@dataclass(frozen=True)
class Summary:
    """The result of `prepare`.

    `splits` are those of `prepared.json`, by modality, of the modalities that were prepared now.  `genres` counts
    albums, `rejected` counts files by reason, `notes` are further lines.
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
        """(damaged, present) numbers of files, by modality, if `max_bad` and BAD_FILES_ALLOWED are exceeded."""
        too_bad = {}
        for name, splits in self.splits.items():
            n_bad = sum(split["rejected"] for split in splits.values())
            n_present = n_bad + sum(split["records"] for split in splits.values())
            if n_bad > max(BAD_FILES_ALLOWED, self.max_bad * n_present):
                too_bad[name] = n_bad, n_present
        return too_bad

    def __str__(self) -> str:
        lines = [line for name, splits in self.splits.items() for line in _table(MODALITIES[name], splits)]
        if self.rejected:
            reasons = ", ".join(f"{n:,} {reason}" for reason, n in sorted(self.rejected.items()))
            lines.append(f"rejected: {reasons}; each is listed in {self.data_dir / REJECTED}")
        if any(split["missing"] for splits in self.splits.values() for split in splits.values()):
            lines.append(f"missing items are listed in {self.data_dir / MISSING}")
        if any(split.get("silent") for splits in self.splits.values() for split in splits.values()):
            lines.append(f"silent songs are kept, and listed in {self.data_dir / SILENT}")
        lines += [self._genres(), *self.notes]
        done = f"{self.n_new:,} items read" if self.n_new else "nothing to do, everything was prepared before"
        lines.append(f"{done} ({self.seconds:.0f} s); the data is in {self.data_dir}")
        return "\n".join(lines)

    def _genres(self) -> str:
        by_frequency = sorted(self.genres.items(), key=lambda item: (-item[1], item[0]))
        shown = "; ".join(f"{genre} {n:,}" for genre, n in by_frequency[:GENRES_SHOWN])
        more = "; …" if len(self.genres) > GENRES_SHOWN else ""
        return f"{len(self.genres)} genres, by albums: {shown}{more}"


def _table(modality: PreparedModality, splits: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Yield a header and a line a split with a modality's counts."""
    columns = ["albums", *(["records"] if modality.item == "track" else []), "missing", "rejected", *modality.counts]
    titles = ({"records": modality.unit, "seconds": "hours"}.get(column, column) for column in columns)
    yield f"{modality.name:<8}" + "".join(f"{title:>10}" for title in titles)
    for name, split in splits.items():
        cells = (f"{split[c] / 3600:.2f}" if c == "seconds" else f"{split[c]:,.0f}" for c in columns)
        yield f"  {name:<6}" + "".join(f"{cell:>10}" for cell in cells)
