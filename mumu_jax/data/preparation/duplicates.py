"""Duplicates among prepared records: what is in val or test and also in another split, listed and counted."""

import contextlib
import filecmp
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from mumu_jax.data.modalities import MODALITIES
from mumu_jax.data.store.shards import Written
from mumu_jax.errors import UserError
from mumu_jax.system.files import sha256_of

DUPLICATES = "duplicates.jsonl"
FILE, BYTES, ALIKE = "same file", "same bytes", "alike"  # the kinds of duplicates

Line = dict[str, Any]


class _Item(NamedTuple):
    split: str
    album_id: str
    item_id: str
    file: Path
    likeness: bytes


def find(part: Written) -> list[Line]:
    """Return a line for each record of val and test that is the same as one of another split: the first such one."""
    items = list(_items(part))
    copies = _copies(items)
    lines = []
    for split in ("val", "test"):
        here = [item for item in items if item.split == split]
        others = [item for item in items if item.split != split]
        similar: dict[_Item, _Item] = {}
        for i, j in part.modality.alike([item.likeness for item in here], [item.likeness for item in others]):
            similar.setdefault(here[i], others[j])
        for item in here:
            # What is too plain to be compared may still be a copy.
            other = next((copy for copy in copies.get(item, ()) if copy.split != split), None) or similar.get(item)
            if other:
                lines.append(_line(item, other, part))
    return lines


def _copies(items: Sequence[_Item]) -> dict[_Item, list[_Item]]:
    """Return the first item of each split that has the same bytes, for items whose likeness another split has, too.

    Each file is read once, however many are alike: a collection may have thousands of silent songs.
    """
    splits = defaultdict(set)
    for item in items:
        splits[item.likeness].add(item.split)
    first: dict[str, dict[str, _Item]] = defaultdict(dict)
    copies = {}
    for item in items:
        if len(splits[item.likeness]) > 1:
            with contextlib.suppress(OSError):  # a file that is gone since it was read is not compared
                same = first[sha256_of(item.file)]
                same.setdefault(item.split, item)
                copies[item] = same
    return {item: list(same.values()) for item, same in copies.items()}


def _items(part: Written) -> Iterator[_Item]:
    for shard, sidecar in part.shards:
        files = {(row.album_id, row.item_id): row.input for row in shard.rows}
        for (album_id, item_id), likeness in zip(sidecar.ids, sidecar.likeness, strict=True):
            yield _Item(shard.split, album_id, item_id, files[album_id, item_id], bytes.fromhex(likeness))


def _line(item: _Item, other: _Item, part: Written) -> Line:
    is_track = part.modality.item == "track"
    return {
        "modality": part.modality.name,
        "album_id": item.album_id,
        **({"track_id": item.item_id} if is_track else {}),
        "split": item.split,
        "like": other.album_id,
        **({"like_track_id": other.item_id} if is_track else {}),
        "like_split": other.split,
        "kind": _kind(item, other),
    }


def _kind(item: _Item, other: _Item) -> str:
    with contextlib.suppress(OSError):  # a file that is gone since it was read is not compared
        if os.path.samefile(item.file, other.file):
            return FILE
        if filecmp.cmp(item.file, other.file, shallow=False):
            return BYTES
    return ALIKE


def read_lines(data_dir: Path) -> list[Line]:
    """Return the lines of the list in `data_dir`, none if there is no list; raises UserError if it is damaged."""
    path = data_dir / DUPLICATES
    if not path.exists():
        return []
    try:
        lines = [msgspec.json.decode(line, type=dict[str, str]) for line in path.read_bytes().splitlines()]
    except msgspec.DecodeError as error:
        raise UserError(f"{path} is damaged: {error}; remove it, and run prepare again, which writes it") from error
    return [{"modality": "image", "kind": ALIKE} | line for line in lines]  # as in lists of covers alone


def notes_of(lines: Sequence[Line], path: Path) -> list[str]:
    """Return a line for each modality: its duplicates by kind and by pair of splits."""
    notes = []
    for name, modality in MODALITIES.items():
        own = [line for line in lines if line["modality"] == name]
        if own:
            things, are_like = modality.likeness_words
            counts = Counter((line["kind"], line["split"], line["like_split"]) for line in own)
            kinds = [f"{kind}: {n:,} of {split} in {other}" for (kind, split, other), n in sorted(counts.items())]
            notes.append(
                f"{len(own):,} {things} of val and test {are_like} one of another split ({'; '.join(kinds)}); "
                f"each is listed in {path}"
            )
    return notes
