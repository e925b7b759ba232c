"""A run's fingerprint: one word by which fusions, exports and files of tags recognise the run."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict

from mumu_jax.config import SPEED_ONLY
from mumu_jax.data.modalities.text import GAZETTEER, VOCABULARY
from mumu_jax.data.modalities.vectors import FUSION


def fingerprint(about: Mapping[str, Any], networks: Sequence[Mapping[str, Any]]) -> str:
    """Return the run's name and a hash of its settings, its data's checksum and the variables of its networks.

    `about` is the content of config.json.  A run keeps its fingerprint if it or its data is moved, and has another one
    after other weights were trained in its folder.
    """
    settings: dict[str, Any] = flatten_dict(about["config"], sep=".")
    counted = {name: value for name, value in settings.items() if name not in SPEED_ONLY}
    digest = hashlib.sha256(json.dumps([counted, about["data"]["checksum"]], sort_keys=True).encode())
    for variables in networks:
        for name, leaf in sorted(flatten_dict(variables, sep="/").items()):
            array = np.asarray(leaf, order="C")
            digest.update(f"{name} {array.dtype} {array.shape}".encode())
            digest.update(array.data)
    return f"{about['config']['name']}-{digest.hexdigest()[:12]}"


def former_fingerprint(workdir: Path, name: str) -> str:
    """Return the fingerprint that fusions, exports and files of tags have recorded before weights were counted."""
    digest = hashlib.sha256()
    for file in ("config.json", "constants.npz", VOCABULARY, GAZETTEER, FUSION):
        if (workdir / file).exists():
            digest.update((workdir / file).read_bytes())
    return f"{name}-{digest.hexdigest()[:8]}"
