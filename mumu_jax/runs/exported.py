"""A finished run as programs that need neither this package nor Flax: StableHLO, with the weights beside it.

README.md        the model card
model.json       which run it is of, what made it, the SHA-256 of every other file
config.json      the run's settings
labels.json      label names and parents, in column order
vocabulary.json  of a text run: its terms and their idf;  gazetteer: what its entities are found by
album.stablehlo  the program;  album.safetensors: its weights and constants;  track.…: where the items are tracks
fusion.json      of a fusion: what it joins;  sources/: those runs, each exported likewise
"""

import dataclasses
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import export
from safetensors.numpy import load_file, save_file

from mumu_jax import config as configs
from mumu_jax.compute.network import Network, apply, see
from mumu_jax.config import Config
from mumu_jax.data.manifest import read_labels, write_labels
from mumu_jax.data.store.records import sha256_of
from mumu_jax.errors import UserError
from mumu_jax.models.cnn import CNN
from mumu_jax.models.kernels.sparse import densify
from mumu_jax.objectives import objective
from mumu_jax.objectives.objective import Constants
from mumu_jax.runs.card import card
from mumu_jax.runs.folder import (
    FINAL_SPLITS,
    Trained,
    TrainedRun,
    fingerprint,
    load_run,
    network_of_items,
    source_of_weights,
)
from mumu_jax.runs.fusion import FUSION, read_kept
from mumu_jax.runs.inputs import load_inputs
from mumu_jax.runs.scorer import Predict, Scorer, Scores, Vectors, source_folders
from mumu_jax.system.files import write_json
from mumu_jax.system.version import versions

FORMAT = "mumu_jax export 1"
ABOUT = "model.json"
SOURCES = "sources"
PLATFORMS = ("cpu", "cuda")


# --- writing ------------------------------------------------------------------------------------------------


def write_export(run: TrainedRun, workdir: Path, folder: Path) -> None:
    """Export the run in `workdir`, of a fusion also those that it joins, into the new `folder`.

    Raises UserError where a run was not evaluated, and where one that a fusion joins is not there or has changed.
    """
    evaluation = _read_evaluation(workdir)
    folder.mkdir(parents=True)
    inputs = dataclasses.replace(run.inputs, config=portable(run.config))
    network = network_of_items(inputs, run.first.constants)
    programs = {inputs.level: program_of(network, run.first, inputs.item, inputs.n_terms)}
    if run.track is not None:
        width = programs["track"].out_avals[1].shape[1]
        vector = jax.ShapeDtypeStruct((width,), np.dtype(np.float32))
        programs["album"] = program_of(run.album.network, run.album, vector)
    for level, program in programs.items():
        (folder / f"{level}.stablehlo").write_bytes(program.serialize())
        tensors = weights_of(run.album if level == "album" else run.first)
        save_file(tensors, folder / f"{level}.safetensors", {"format": FORMAT})
    write_json(folder / "config.json", dataclasses.asdict(inputs.config))
    write_labels(folder / "labels.json", run.labels)
    inputs.save(folder)
    for name, path in source_folders(inputs, workdir).items():
        write_export(load_run(path), path, folder / SOURCES / name)
    if inputs.sources is not None:
        _write_sources(workdir, folder)
    text = card(run, inputs, evaluation, source_of_weights(workdir))
    (folder / "README.md").write_text(text, encoding="utf-8")
    _write_about(folder, fingerprint(workdir), run)


def portable(config: Config) -> Config:
    """`auto` precision would be another on each machine, and so would the scores."""
    precision = "float32" if config.model.precision == "auto" else config.model.precision
    return dataclasses.replace(config, model=dataclasses.replace(config.model, precision=precision))


def _on_any_device(network: Network) -> Network:
    """The same whatever machine exports: an accelerator's formulations of a CNN, which a CPU can compute, too.

    A CPU's own cut a batch into as many pieces as its cache asks for.
    """
    if isinstance(network.model, CNN):
        return network._replace(model=network.model.clone(backend="gpu"))
    return network


def _convolve_plainly(call: Callable[..., Any], arguments: Any, how: Any, context: nn.module.InterceptorContext) -> Any:
    """Likewise of image networks: their 1 × 1 convolutions as a CPU has them crash XLA's compiler for GPUs (0.10.2)."""
    layer = context.module
    if isinstance(layer, nn.Conv) and layer.conv_general_dilated is not None:
        return layer.clone(parent=None, conv_general_dilated=None).apply(layer.variables, *arguments, **how)
    return call(*arguments, **how)


def program_of(network: Network, trained: Trained, item: Any, n_terms: int | None = None) -> export.Exported:
    """(weights, arrays of the items' inputs …) → (readable scores [items, labels], penultimate vectors [items, d]).

    The program is of one item, mapped over the batch: so the networks see a batch of a known size, 1, and the
    program takes any.  Sparse rows may have any number of values, too.
    """
    leaves, structure = jax.tree.flatten(item)
    network = _on_any_device(network)

    def of_one(weights: dict[str, Any], *inputs: Any) -> tuple[Any, Any]:
        variables: dict[str, Any] = unflatten_dict(weights, sep="/")
        constants = Constants(**variables.pop("constants"))
        seen = see(network, jax.tree.unflatten(structure, [array[None] for array in inputs]), constants)
        if n_terms is not None:  # the sparse product's loop wants to know the number of values
            seen = densify(seen, n_terms)
        with nn.intercept_methods(_convolve_plainly):
            output, embedding = apply(network, variables, seen)
        scores = objective.scores(network.kind, output, constants)
        return objective.readable(network.kind, scores)[0], embedding[0]

    items, values = export.symbolic_shape("items, values")
    inputs = [
        jax.ShapeDtypeStruct((items, *((values,) if n_terms is not None else leaf.shape)), leaf.dtype)
        for leaf in leaves
    ]
    weights = {name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for name, leaf in weights_of(trained).items()}
    program = jax.jit(jax.vmap(of_one, in_axes=(None, *[0] * len(inputs))))
    with _without_locations():
        return export.export(program, platforms=PLATFORMS)(weights, *inputs)


@contextmanager
def _without_locations() -> Iterator[None]:
    """Programs would hold the paths of the source files on this machine."""
    option = "jax_traceback_in_locations_limit"
    before = getattr(jax.config, option)
    jax.config.update(option, 0)
    try:
        yield
    finally:
        jax.config.update(option, before)


def weights_of(trained: Trained) -> dict[str, np.ndarray]:
    """All that a program needs beside its input, by name: params/…, batch_stats/…, constants/…"""
    constants = {field.name: getattr(trained.constants, field.name) for field in dataclasses.fields(Constants)}
    tree = {**trained.variables, "constants": constants}
    return {name: np.asarray(leaf, np.float32, order="C") for name, leaf in flatten_dict(tree, sep="/").items()}


def _write_sources(workdir: Path, folder: Path) -> None:
    """fusion.json as it is in the run, but for where the sources lie."""
    kept = read_kept(workdir)
    sources = {
        name: dataclasses.replace(source, path=f"{SOURCES}/{name}", relative="")
        for name, source in kept.sources.items()
    }
    write_json(folder / FUSION, dataclasses.asdict(dataclasses.replace(kept, sources=sources)) | {"data_dir": ""})


def _read_evaluation(workdir: Path) -> dict[str, Any]:
    """Of the test split; of val where the data has no test split."""
    paths = [path for split in FINAL_SPLITS if (path := workdir / f"eval_{split}.json").exists()]
    try:
        return json.loads(paths[0].read_text(encoding="utf-8"))
    except (IndexError, OSError, ValueError) as error:
        raise UserError(
            f"{workdir} has no metrics for the model card ({error!r}); python -m mumu_jax.evaluate "
            f"--workdir={workdir} writes them"
        ) from error


def _write_about(folder: Path, name: str, run: TrainedRun) -> None:
    about = {
        "format": FORMAT,
        "run": name,
        "data": run.data_checksum,
        "made_with": versions("mumu_jax", "jax", "jaxlib"),
        "files": {path: sha256_of(folder / path) for path in files_in(folder)},
    }
    write_json(folder / ABOUT, about)


def files_in(folder: Path) -> list[str]:
    """All files of an export but its model.json, relative to the folder."""
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())
    return [path for path in files if path != ABOUT]


# --- reading ------------------------------------------------------------------------------------------------


def open_export(folder: Path) -> Scorer:
    """What `write_export` wrote, ready to score.

    Raises UserError where a file is missing or damaged, or JAX is too old or too new for the programs.
    """
    for path, sha256 in read_about(folder)["files"].items():
        found = sha256_of(folder / path) if (folder / path).is_file() else None
        if found != sha256:
            what = "is missing" if found is None else "is not the file that was exported (its SHA-256 differs)"
            raise UserError(f"{folder / path} {what}; copy the folder anew, or export the run again")
    return _open(folder)


def read_about(folder: Path) -> dict[str, Any]:
    """model.json; raises UserError where there is none of ours."""
    path = folder / ABOUT
    if not path.exists():
        raise UserError(
            f"{folder} is not an export: it has no {ABOUT}; make one with python -m mumu_jax.export, or name a run by "
            "--workdir"
        )
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        if about["format"] != FORMAT or not isinstance(about["run"], str):
            raise ValueError(f"its format is {about['format']!r}, not {FORMAT!r}")
        return {**about, "files": dict(about["files"]), "made_with": dict(about["made_with"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{folder} is not an export ({path.name}: {error!r}); make one with python -m mumu_jax.export, or name "
            "a run by --workdir"
        ) from error


def _open(folder: Path) -> Scorer:
    """The files are what was written."""
    about = read_about(folder)
    tree = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    inputs = load_inputs(configs.from_json(Config, tree, str(folder / "config.json")), folder)
    of_vectors = _load(folder, "album", about) if inputs.level == "track" else None
    sources = {name: _open(folder / source.path) for name, source in (inputs.sources or {}).items()}
    labels = read_labels(folder / "labels.json")
    return Scorer(about["run"], labels, inputs, _load(folder, inputs.level, about), of_vectors, sources)


def _load(folder: Path, level: str, about: dict[str, Any]) -> Predict:
    """A program with its weights, on JAX's first device."""
    path, platform = folder / f"{level}.stablehlo", jax.default_backend()
    try:
        program = export.deserialize(bytearray(path.read_bytes()))
    except Exception as error:  # whatever another version's reader makes of the bytes
        theirs = about["made_with"]["jax"]
        raise UserError(
            f"{path} was made by JAX {theirs}, and JAX {jax.__version__} cannot read it ({error!r}); install "
            f"jax=={theirs}, or export the run again with this one"
        ) from error
    if {"gpu": "cuda"}.get(platform, platform) not in program.platforms:
        raise UserError(
            f"{path} is for {' and '.join(program.platforms)}, and JAX computes on {platform} here; set "
            "JAX_PLATFORMS=cpu"
        )
    weights, call = jax.device_put(load_file(folder / f"{level}.safetensors")), jax.jit(program.call)

    def predict(inputs: Any, batch_size: int) -> tuple[Scores, Vectors]:
        """All batches have the same size, and so the same compiled program: zeros fill the last one."""
        leaves = jax.tree.leaves(inputs)
        n_items = len(leaves[0])
        batches = ([_padded(leaf[low:], batch_size) for leaf in leaves] for low in range(0, n_items, batch_size))
        found = jax.device_get([call(weights, *batch) for batch in batches])
        scores, vectors = (np.concatenate(parts)[:n_items] for parts in zip(*found, strict=True))
        return scores, vectors

    return predict


def _padded(rows: np.ndarray, n_rows: int) -> np.ndarray:
    """The first `n_rows` rows, and zeros where there are fewer."""
    rows = rows[:n_rows]
    return np.concatenate([rows, np.zeros((n_rows - len(rows), *rows.shape[1:]), rows.dtype)])
