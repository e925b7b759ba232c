"""MuMu as a TensorFlow Dataset, `mumu`, without TensorFlow: importing this file makes it known to TFDS.

    import mumu_jax.data.tfds_builder
    download = tfds.download.DownloadConfig(manual_dir="MUMU")
    tfds.data_source("mumu/text", split="train", download_and_prepare_kwargs={"download_config": download})

`mumu/text` is the default.  The others are read by worker processes, which import the script that starts them: it must
do its work below `if __name__ == "__main__":`.

What `mumu_jax.prepare` writes, which goes on after a kill, is read by `tfds.builder_from_directory`; its records have
`labels`, columns of the data set's genres, where these have the names, `genres`.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from mumu_jax.data.manifest import SPLITS, Album
from mumu_jax.data.modalities import MODALITIES
from mumu_jax.data.modalities.base import Content
from mumu_jax.data.sources import read_source
from mumu_jax.data.sources.request import Request
from mumu_jax.data.store.shards import read_all
from mumu_jax.errors import UserError

DESCRIPTION = """\
MuMu: 31,471 albums and 147,295 tracks with 250 genre labels, from the Million Song Dataset and Amazon's album reviews
and metadata.  Albums are divided 80/10/10, as published where the splits are there, else by a hash of their ids.
"""
CITATION = """\
@inproceedings{oramas2017multilabel,
  title     = {Multi-Label Music Genre Classification from Audio, Text, and Images Using Deep Features},
  author    = {Oramas, Sergio and Nieto, Oriol and Barbieri, Francesco and Serra, Xavier},
  booktitle = {Proceedings of the 18th International Society for Music Information Retrieval Conference (ISMIR)},
  year      = {2017},
}
"""
LICENSE = """\
The released annotations are MuMu's authors'; reviews and metadata were gathered from Amazon by McAuley et al. and are
for research.  Audio and covers are not part of the release: they are the owner's, with whatever rights come with them.
"""


class Mumu(tfds.core.GeneratorBasedBuilder):
    """A config for each modality; a record is an item of it, with the names of its album's genres."""

    name = "mumu"
    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS: ClassVar = [tfds.core.BuilderConfig(name=name) for name in MODALITIES]
    DEFAULT_BUILDER_CONFIG_NAME = "text"  # audio is not in the release
    MANUAL_DOWNLOAD_INSTRUCTIONS = """\
Put the released files (https://www.upf.edu/web/mtg/mumu) into one folder, the manual_dir, and what you own beside them
as audio/, covers/ and msd/.  `python -m mumu_jax.doctor FOLDER` says what is there and what is missing."""

    def __init__(self, *, file_format: Any = "array_record", **how: Any) -> None:
        super().__init__(file_format=file_format, **how)  # TFDS's own default needs TensorFlow to write

    @property
    def modality(self) -> str:
        config: Any = self.builder_config
        return config.name

    def _info(self) -> Any:
        modality = MODALITIES[self.modality]
        ids = ["album_id", "track_id"] if modality.item == "track" else ["album_id"]
        return tfds.core.DatasetInfo(
            builder=self,
            description=DESCRIPTION,
            features=tfds.features.FeaturesDict(
                {
                    **{name: tfds.features.Text() for name in ids},
                    "genres": tfds.features.Sequence(tfds.features.Text()),
                    **modality.features(modality.settings()),
                }
            ),
            homepage="https://www.upf.edu/web/mtg/mumu",
            citation=CITATION,
            license=LICENSE,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        folder = Path(dl_manager.manual_dir)
        albums = read_source("mumu", folder, Request(folder)).albums
        by_split = {split: [album for album in albums if album.split == split] for split in SPLITS}
        return {split: self._generate_examples(of, split, folder) for split, of in by_split.items() if of}

    def _generate_examples(self, albums: list[Album], split: str, folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
        """(id, record) of every item that can be read; the others are what `prepare` lists.

        Raises UserError where there is none.
        """
        modality = MODALITIES[self.modality]
        items = [
            (album, item_id, input)
            for album in albums
            for item_id, input in modality.inputs(album, Path(os.devnull))
            if input is not None and modality.exists(input)
        ]
        inputs = [input for *_, input in items]
        found = read_all(modality, modality.settings(), inputs, os.cpu_count() or 1)
        n_records = 0
        for (album, item_id, _), content in zip(items, found, strict=True):
            if isinstance(content, Content):
                n_records += 1
                ids = {"album_id": album.album_id} | ({"track_id": item_id} if modality.item == "track" else {})
                yield item_id, {**ids, "genres": list(album.genres), **content.fields}
        if not n_records:
            raise UserError(
                f"expected {modality.name} of albums in the split {split}, found none in {folder} that can be read; "
                f"run python -m mumu_jax.doctor {folder}, which says what is missing"
            )
