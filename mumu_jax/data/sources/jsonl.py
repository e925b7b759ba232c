"""A user's own manifest: JSON lines, one album a line."""

from pathlib import Path

from mumu_jax.data.manifest import Album, Label, labels_of, read_manifest


def read(input: Path, data_dir: Path, workers: int) -> tuple[list[Album], list[Label]]:
    """The albums as they stand; the labels are their genres in code point order."""
    albums = read_manifest(input)
    return albums, labels_of(albums)
