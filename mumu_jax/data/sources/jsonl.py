"""A user's own manifest: JSON lines, one album a line."""

from pathlib import Path

from mumu_jax.data.manifest import labels_of, read_manifest
from mumu_jax.data.sources.request import Collection, Request


def read(input: Path, request: Request) -> Collection:
    """The albums as they stand; the labels are their genres in code point order."""
    albums = read_manifest(input)
    return Collection(albums, labels_of(albums))
