"""Images: a record an album, the centre square of its cover in 8 bits."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image as Pixels

from mumu_jax.config import Config, ImageSettings
from mumu_jax.data.manifest import Album
from mumu_jax.data.modalities.base import Content, PreparedModality, Read, Spec, Tensor
from mumu_jax.data.modalities.image.duplicates import alike, likeness
from mumu_jax.data.modalities.image.read import read_image
from mumu_jax.data.modalities.suffixes import is_image

# Of ImageNet's red, green and blue, 0 to 1: fb.resnet.torch's, and those that the published networks were trained with.
SUMMARY_SIDE = 8
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Image(PreparedModality):
    """Album covers."""

    name, item, settings, sections = "image", "album", ImageSettings, ("image", "augment")
    sees, files, streamed = "album covers", "image", True
    # "likeness" is of `duplicates.py`: another number if it changes
    versions: ClassVar[dict[str, str]] = {"pillow": version("pillow"), "likeness": "1"}
    shard_records = 384  # 75 MB
    has_likeness, likeness_words = True, ("covers", "look like")

    def inputs(self, album: Album, folder: Path) -> Iterator[tuple[str, Path | None]]:
        """Yield the album's id and cover."""
        yield album.album_id, album.cover

    def read(self, source: Path, settings: ImageSettings) -> Content:
        return Content({"image": read_image(source, settings)})

    def likeness(self, fields: Mapping[str, Any], settings: ImageSettings) -> bytes:
        return likeness(fields["image"])

    def alike(self, a: Sequence[bytes], b: Sequence[bytes]) -> Iterator[tuple[int, int]]:
        return alike(a, b)

    def fields(self, settings: ImageSettings) -> dict[str, Tensor]:
        return {"image": Tensor((settings.side_px, settings.side_px, 3), np.uint8)}

    def statistics(
        self, records: Iterable[dict[str, Any]], settings: ImageSettings
    ) -> tuple[Float32[np.ndarray, "3"], Float32[np.ndarray, "3"]]:
        """Return ImageNet's, whatever the records, for pixels from 0 to 1."""
        return np.array(MEAN, np.float32), np.array(STD, np.float32)

    def shape(self, config: Config, fitted: None) -> Spec:
        return Spec((config.image.side_px, config.image.side_px, 3), np.dtype(np.uint8))

    def arrays(self, records: Iterable[Mapping[str, Any]], config: Config, fitted: None) -> np.ndarray:
        return np.stack([record["image"] for record in records])

    def fill(
        self, record: Mapping[str, Any], out: UInt8[np.ndarray, "side side 3"], uniform: float | None, config: Config
    ) -> None:
        out[:] = record["image"]

    def summary(
        self, records: Iterable[Mapping[str, Any]], config: Config, fitted: None
    ) -> Float32[np.ndarray, "covers values"]:
        """Return the mean colours of each cover's SUMMARY_SIDE × SUMMARY_SIDE squares, 0 to 255."""
        size, box = (SUMMARY_SIDE, SUMMARY_SIDE), Pixels.Resampling.BOX
        squares = [np.asarray(Pixels.fromarray(record["image"]).resize(size, box)) for record in records]
        return np.stack(squares).reshape(len(squares), -1).astype(np.float32)

    def is_one(self, path: Path) -> bool:
        return is_image(path)

    def read_file(self, path: Path, config: Config, fitted: None) -> Read:
        """Read the centre square of an image."""
        return Read(path, [{"image": read_image(path, config.image)}])

    def describe(self, config: Config, fitted: None) -> tuple[str, str]:
        side = config.image.side_px
        return (
            f"uint8 [n, {side}, {side}, 3]: covers as RGB, 0 to 255, rows from the top: the centre square, scaled to "
            f"{side} pixels a side (bicubic, antialiased). The program takes the centre and standardises it."
        ), f"covers = np.full((2, {side}, {side}, 3), 128, np.uint8)"
