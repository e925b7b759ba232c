"""Published networks on prepared data: converted weights as a finished run, whose outputs are the data's labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mumu_jax.compute.network import album_network, constants_of_vectors
from mumu_jax.config import MelSettings
from mumu_jax.data.manifest import Label
from mumu_jax.data.modalities.inputs import Inputs
from mumu_jax.data.modalities.mel import differences_from
from mumu_jax.data.sources.finding import some
from mumu_jax.data.sources.public.jamendo import SEPARATOR
from mumu_jax.data.store.records import Prepared, open_prepared, read_description
from mumu_jax.errors import UserError
from mumu_jax.fields import from_json
from mumu_jax.models.head import output_layer
from mumu_jax.runs.folder import Trained, TrainedRun
from mumu_jax.runs.published import config_of, load_tagger, plain, trained_of
from mumu_jax.training.weights import Pretrained

N_PATCHES = 16  # of a track, evenly spaced, of which the mean counts: Won et al. 2020
NEVER = -100.0  # the logit of a label that the network does not know


@dataclass(frozen=True)
class Matching:
    """The network's output for each of the data's labels, None if it has none, and what has no counterpart."""

    outputs: Sequence[int | None]
    unknown: Sequence[str]  # labels of the data
    unused: Sequence[str]  # tags of the network

    @property
    def remarks(self) -> list[str]:
        """Lines that say which labels are not scored, and which tags the data does not have."""
        found = []
        if self.unknown:
            of_data = f"{len(self.unknown)} of the data's {len(self.outputs)} labels"
            found.append(
                f"{of_data} are no tags of the network, and count in no ROC-AUC and PR-AUC: {some(self.unknown)}"
            )
        if self.unused:
            n_used = len({*self.outputs} - {None})
            of_network = f"{len(self.unused)} of the network's {len(self.unused) + n_used} tags"
            found.append(f"{of_network} are no labels of the data: {some(self.unused)}")
        return found


@dataclass(frozen=True)
class OnData:
    """A published network with the prepared data that it is scored on."""

    run: TrainedRun
    dataset: Prepared
    matching: Matching
    about: Mapping[str, Any]  # the weights and what has no counterpart, for the evaluation's file


def open_on_data(path: Path, data_dir: Path) -> OnData:
    """Open converted weights as a run that was trained on the labels of the data in `data_dir`.

    Labels are matched with the network's tags by name, whatever the case and spaces, Jamendo's without category.
    Raises UserError if the data has other mel spectrograms than the network was trained on, or none of its tags.
    """
    pretrained = load_tagger(path)
    config = config_of(pretrained)
    config = replace(config, data=replace(config.data, patches=N_PATCHES))
    config = replace(config, model=replace(config.model, precision="float32"))  # also on a GPU: as published
    dataset = _open_mel(path, pretrained, data_dir, config.mel.patch_frames)
    config = replace(config, mel=dataset.settings)
    matching = match(dataset.labels, pretrained.vocabulary)
    known = np.array([output is not None for output in matching.outputs])
    if not known.any():
        raise UserError(
            f"none of the {len(known)} labels of {data_dir} is among the {len(pretrained.vocabulary)} tags of {path} "
            f"({some(pretrained.vocabulary)}); give weights that were trained on these labels"
        )
    params = {**pretrained.params, "output": {"dense": _columns(output_layer(pretrained.params)["dense"], matching)}}
    track = trained_of(pretrained._replace(params=params), config, len(known))
    network, vectors = album_network(config, len(known), {}), params["output"]["dense"]["kernel"].shape[0]
    constants = constants_of_vectors(track.constants, vectors)
    album = Trained(network, {"params": params["output"], "batch_stats": {}}, constants)
    run = TrainedRun(
        names=(path.stem, path.stem),
        config=config,
        labels=dataset.labels,
        seen=known,
        data_dir=data_dir,
        data_checksum=dataset.checksum,
        inputs=Inputs.unfitted(config),
        track=track,
        album=album,
    )
    about = {"network": pretrained.model, **pretrained.about, "tags": list(pretrained.vocabulary)}
    missing = {"unknown": matching.unknown, "unused": matching.unused}
    return OnData(run, dataset, matching, {"weights": about, **missing})


def match(labels: Sequence[Label], vocabulary: Sequence[str]) -> Matching:
    """Match labels with tags by their plain names."""
    column = {plain(tag): i for i, tag in enumerate(vocabulary)}
    names = [plain(label.name.rpartition(SEPARATOR)[2]) for label in labels]
    return Matching(
        outputs=[column.get(name) for name in names],
        unknown=[label.name for label, name in zip(labels, names, strict=True) if name not in column],
        unused=[tag for tag in vocabulary if plain(tag) not in names],
    )


def _open_mel(path: Path, pretrained: Pretrained, data_dir: Path, patch_frames: int) -> Prepared:
    """Open the mel spectrograms in `data_dir` as patches of the network's length; they must be of its preset."""
    folder = data_dir / "mel"
    stored = from_json(MelSettings, read_description(folder).settings, str(folder))
    if differences := differences_from(pretrained.front_end, stored):
        raise UserError(
            f"{path} has learned from mel spectrograms of the preset {pretrained.front_end!r}, and {folder} has "
            f"others: {', '.join(differences)}; prepare other data with --mel.preset={pretrained.front_end}"
        )
    return open_prepared(data_dir, replace(stored, patch_frames=patch_frames))


def _columns(dense: Mapping[str, Any], matching: Matching) -> dict[str, np.ndarray]:
    """Return the output layer with a column for each of the data's labels."""
    kernel, bias = (np.asarray(jax.device_get(dense[name])) for name in ("kernel", "bias"))
    columns = np.array([-1 if output is None else output for output in matching.outputs])
    known = columns >= 0
    return {
        "kernel": np.where(known, kernel[:, columns], np.float32(0)),
        "bias": np.where(known, bias[columns], np.float32(NEVER)),
    }
