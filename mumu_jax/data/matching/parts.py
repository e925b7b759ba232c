"""Resumable reading: records go into numbered files of JSON lines, and what is written is not read again."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from mumu_jax.system.files import replacing, write_json
from mumu_jax.system.lines import print_remark

DONE = "done.json"  # of a folder of parts: how many records were read, and how many of these could not be used
T = TypeVar("T", bound=msgspec.Struct)

Read = Callable[[int], Iterator[msgspec.Struct | None]]


def write_parts(folder: Path, read: Read, n_a_part: int, description: str) -> None:
    """Write the records that `read` yields, so many a part; None stands for one that cannot be used.

    `read` is told how many records to pass over: those of the parts that an earlier, killed call has written.
    """
    if (folder / DONE).exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    n_parts = len(parts_of(folder))
    n_read, n_used = n_parts * n_a_part, sum(part.read_bytes().count(b"\n") for part in parts_of(folder))
    records = read(n_read)
    encode = msgspec.json.Encoder().encode
    while batch := list(itertools.islice(records, n_a_part)):
        used = [encode(record) for record in batch if record is not None]
        with replacing(folder / f"{n_parts:05}.jsonl") as temporary:
            temporary.write_bytes(b"".join(line + b"\n" for line in used))
        n_parts, n_read, n_used = n_parts + 1, n_read + len(batch), n_used + len(used)
        print_remark(f"{description}: {n_read:,} read")  # nobody knows how many there are
    write_json(folder / DONE, {"read": n_read, "used": n_used})


def parts_of(folder: Path) -> list[Path]:
    """Return the parts in their order."""
    return sorted(folder.glob("[0-9]*.jsonl"))


def read_part(part: Path, kind: type[T]) -> Iterator[T]:
    """Yield the records of a part."""
    decode = msgspec.json.Decoder(kind).decode
    with part.open("rb") as lines:
        yield from map(decode, lines)


def read_parts(folder: Path, kind: type[T]) -> Iterator[T]:
    """Yield the records of all parts."""
    for part in parts_of(folder):
        yield from read_part(part, kind)


def counts_of(folder: Path) -> tuple[int, int]:
    """Return how many records were read, and how many of these could be used."""
    counts = msgspec.json.decode((folder / DONE).read_bytes())
    return counts["read"], counts["used"]
