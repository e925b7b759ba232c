"""An export: a finished run as programs that need neither this package nor Flax: StableHLO and the weights.

README.md        the model card
model.json       the run's fingerprint, the versions that made it, the SHA-256 of every other file
config.json      the run's settings
labels.json      label names and parents, in column order
vocabulary.json  of a text run: its terms and their idf;  gazetteer: links entities in new texts
vocabulary.txt   of a run that sees lyrics: its word pieces
album.stablehlo  the program;  album.safetensors: its weights and constants;  track.…: likewise, if items are tracks
calibration.npz  the genres' thresholds and calibrated probabilities; none in exports of earlier versions
fusion.json      of a fusion: the runs it joins;  sources/: those runs, each exported likewise
"""

import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import msgspec
import numpy as np
from jax import export
from safetensors.numpy import load_file, save_file

from mumu_jax.compute.compiler_options import compiler_options
from mumu_jax.compute.network import VECTORS, Network, item_network
from mumu_jax.config import Config
from mumu_jax.data.manifest import read_labels, write_labels
from mumu_jax.data.modalities.inputs import Inputs
from mumu_jax.data.modalities.vectors import FUSION, Vectors, read_kept
from mumu_jax.errors import UserError
from mumu_jax.fields import from_json
from mumu_jax.runs.card import card
from mumu_jax.runs.exported_program import program_of, weights_of
from mumu_jax.runs.folder import CALIBRATION, FINAL_SPLITS, Trained, TrainedRun, source_of_weights
from mumu_jax.runs.scorer import Embedding, Predict, Scorer, Scores, load_sources
from mumu_jax.system.files import read_checked_json, sha256_of, write_checked_json, write_json
from mumu_jax.system.version import versions

FORMAT = "mumu_jax export 1"
ABOUT = "model.json"
SOURCES = "sources"


class About(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of model.json; `files` are the SHA-256 of all other files, by their paths in the export."""

    format: Literal["mumu_jax export 1"]
    run: str
    data: str
    made_with: dict[str, str]
    files: dict[str, str]


# --- writing ------------------------------------------------------------------------------------------------


def write_export(run: TrainedRun, workdir: Path, folder: Path) -> None:
    """Export the run in `workdir`, of a fusion also those that it joins, into the new `folder`.

    Raises UserError if a run was not evaluated, or if one that a fusion joins is missing or has changed.
    """
    evaluation = _read_evaluation(workdir)
    folder.mkdir(parents=True)
    inputs = dataclasses.replace(run.inputs, config=portable(run.config))
    network = item_network(inputs.config, len(run.labels), run.first.constants.fitted)
    program = _write_program(folder, inputs.level, network, run.first, inputs.item)
    if run.track is not None:
        vector = jax.ShapeDtypeStruct(program.out_avals[1].shape[1:], np.float32)
        _write_program(folder, "album", run.album.network, run.album, {VECTORS: vector})
    write_json(folder / "config.json", dataclasses.asdict(inputs.config))
    write_labels(folder / "labels.json", run.labels)
    inputs.save(folder)
    calibrated = (workdir / CALIBRATION).exists()
    if calibrated:
        shutil.copyfile(workdir / CALIBRATION, folder / CALIBRATION)
    for name, (path, source) in load_sources(inputs, workdir).items():
        write_export(source, path, folder / SOURCES / name)
    if Vectors.name in inputs.fitted:
        _write_sources(workdir, folder)
    text = card(run, inputs, evaluation, source_of_weights(workdir), calibrated)
    (folder / "README.md").write_text(text, encoding="utf-8")
    made_with = versions("mumu_jax", "jax", "jaxlib")
    files = {path: sha256_of(folder / path) for path in files_in(folder)}
    about = About(FORMAT, run.fingerprint, run.data_checksum, made_with, files)
    write_checked_json(folder / ABOUT, msgspec.structs.asdict(about))


def portable(config: Config) -> Config:
    """Return the config with a fixed precision: `auto` would give other scores on another kind of machine."""
    precision = "float32" if config.model.precision == "auto" else config.model.precision
    return dataclasses.replace(config, model=dataclasses.replace(config.model, precision=precision))


def _write_program(
    folder: Path, level: str, network: Network, trained: Trained, item: Mapping[str, Any]
) -> export.Exported:
    program = program_of(network, trained, item)
    (folder / f"{level}.stablehlo").write_bytes(program.serialize())
    save_file(weights_of(trained), folder / f"{level}.safetensors", {"format": FORMAT})
    return program


def _write_sources(workdir: Path, folder: Path) -> None:
    """Write fusion.json as it is in the run, but for the sources' folders."""
    kept = read_kept(workdir)
    sources = {
        name: dataclasses.replace(source, path=f"{SOURCES}/{name}", relative="")
        for name, source in kept.sources.items()
    }
    write_json(folder / FUSION, dataclasses.asdict(dataclasses.replace(kept, sources=sources, data_dir="")))


def _read_evaluation(workdir: Path) -> dict[str, Any]:
    """Return the evaluation of the test split; of val if the data has no test split."""
    paths = (workdir / f"eval_{split}.json" for split in FINAL_SPLITS)
    try:
        return json.loads(next(path for path in paths if path.exists()).read_bytes())
    except (StopIteration, OSError, ValueError) as error:
        raise UserError(
            f"{workdir} has no metrics for the model card ({error!r}); python -m mumu_jax.evaluate "
            f"--workdir={workdir} writes them"
        ) from error


def files_in(folder: Path) -> list[str]:
    """Return all files of an export but its model.json, relative to the folder."""
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())
    return [path for path in files if path != ABOUT]


# --- reading ------------------------------------------------------------------------------------------------


def open_export(folder: Path) -> Scorer:
    """Open what `write_export` wrote, ready to score.

    Raises UserError if a file is missing or damaged, or if JAX is too old or too new for the programs.
    """
    for path, sha256 in read_about(folder).files.items():
        found = sha256_of(folder / path) if (folder / path).is_file() else None
        if found != sha256:
            what = "is missing" if found is None else "is not the file that was exported (its SHA-256 differs)"
            raise UserError(f"{folder / path} {what}; copy the folder again, or export the run again")
    return _open(folder)


def read_about(folder: Path) -> About:
    """Read model.json; raises UserError if there is none of ours."""
    try:
        content = read_checked_json(folder / ABOUT)
        content.pop("sha256", None)
        return msgspec.convert(content, About)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{folder} is not an export ({ABOUT}: {error}); make one with python -m mumu_jax.export, or name a run by "
            "--workdir"
        ) from error


def _open(folder: Path) -> Scorer:
    """Open an export whose files are known to be what was written."""
    about = read_about(folder)
    tree = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    inputs = Inputs.load(from_json(Config, tree, str(folder / "config.json")), folder)
    of_vectors = _load(folder, "album", about) if inputs.level == "track" else None
    kept = inputs.fitted.get(Vectors.name, {})
    sources = {name: _open(folder / source.path) for name, source in kept.items()}
    labels = read_labels(folder / "labels.json")
    return Scorer((about.run,), labels, inputs, _load(folder, inputs.level, about), of_vectors, sources)


def _load(folder: Path, level: str, about: About) -> Predict:
    """Load a program with its weights, on JAX's first device."""
    path, platform = folder / f"{level}.stablehlo", jax.default_backend()
    try:
        program = export.deserialize(bytearray(path.read_bytes()))
    except Exception as error:  # whatever another version's reader makes of the bytes
        theirs = about.made_with["jax"]
        raise UserError(
            f"{path} was made by JAX {theirs}, and JAX {jax.__version__} cannot read it ({error!r}); install "
            f"jax=={theirs}, or export the run again with this one"
        ) from error
    if {"gpu": "cuda"}.get(platform, platform) not in program.platforms:
        raise UserError(
            f"{path} is for {', '.join(program.platforms)}, and JAX computes on {platform} here; export the run again "
            "with this version, or set JAX_PLATFORMS=cpu"
        )
    weights = jax.device_put(load_file(folder / f"{level}.safetensors"))
    call = jax.jit(program.call, compiler_options=compiler_options(jax.devices()[0]))

    def predict(inputs: Any, batch_size: int) -> tuple[Scores, Embedding]:
        """Run batches of one size, and so one compiled program: zeros fill the last one."""
        leaves = jax.tree.leaves(inputs)
        n_items = len(leaves[0])
        batches = ([_padded(leaf[low:], batch_size) for leaf in leaves] for low in range(0, n_items, batch_size))
        found = jax.device_get([call(weights, *batch) for batch in batches])
        scores, vectors = (np.concatenate(parts)[:n_items] for parts in zip(*found, strict=True))
        return scores, vectors

    return predict


def _padded(rows: np.ndarray, n_rows: int) -> np.ndarray:
    """Return the first `n_rows` rows, and zeros if there are fewer."""
    rows = rows[:n_rows]
    return np.concatenate([rows, np.zeros((n_rows - len(rows), *rows.shape[1:]), rows.dtype)])
