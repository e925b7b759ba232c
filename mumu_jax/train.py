"""`python -m mumu_jax.train --config=NAME`: train a named experiment, of tracks also their albums, and evaluate."""

import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8

from mumu_jax.compute import devices
from mumu_jax.config import Config
from mumu_jax.data.loader import array_items, multi_hot
from mumu_jax.data.manifest import Album, Label
from mumu_jax.data.preparation.job import Job, prepare
from mumu_jax.data.store.records import Dataset, read_albums
from mumu_jax.errors import UserError
from mumu_jax.evaluate import check_single_label, evaluate, print_table
from mumu_jax.objectives import cosine
from mumu_jax.objectives.objective import Constants
from mumu_jax.runs.albums import mean_by_album
from mumu_jax.runs.extract import keep_features, predict_items
from mumu_jax.runs.folder import (
    FINAL_SPLITS,
    Trained,
    album_network,
    claim,
    constants_of_vectors,
    load_run,
    network_of_items,
    read_constants,
    source_of_weights,
    write_run,
)
from mumu_jax.runs.fusion import open_data
from mumu_jax.runs.inputs import Inputs, fit_inputs, load_inputs
from mumu_jax.system import processes
from mumu_jax.system.cache import keep_compiled_programs
from mumu_jax.system.files import only_one
from mumu_jax.system.signals import EXIT_INTERRUPTED, Interrupted, StopRequest, stop_on_signal
from mumu_jax.system.terminal import run_command
from mumu_jax.training.feed import Feed, open_feeds
from mumu_jax.training.flags import check_network, parse_flags, print_experiments
from mumu_jax.training.log import MetricsLog, Silent
from mumu_jax.training.loop import Run, Task, fit
from mumu_jax.training.weights import check_weights, print_trainable, start_from_weights

MINI_DATA_DIR = Path("data/mini")


def main(argv: Sequence[str]) -> int:
    """Train what the command line names, and evaluate it."""
    arguments = parse_flags(argv)
    if arguments.list:
        print_experiments()
        return 0
    processes.join(arguments.coordinator, arguments.num_processes, arguments.process_id)
    keep_compiled_programs()
    check_network(arguments.config)
    config, named = arguments.config, arguments.data_dir or os.environ.get("MUMU_DATA_DIR")
    data_dir = Path(named) if named else None
    if config.modality != "fusion":
        data_dir = data_dir or make_mini_dataset()
    workdir = Path(arguments.workdir or f"runs/{config.name}")
    with stop_on_signal() as stop:
        try:
            if config.modality == "fusion":
                data_dir = keep_features(config, arguments.features, data_dir, workdir, stop.watch)
            assert data_dir is not None
            train(config, data_dir, workdir, stop)
        except Interrupted as interrupted:
            print(f"{interrupted}; the same command goes on from here", file=sys.stderr)
            return EXIT_INTERRUPTED
    return 0


def train(config: Config, data_dir: Path, workdir: Path, stop: StopRequest) -> None:
    """Train both networks and evaluate them.  Called again, it resumes."""
    # Data and devices
    prepared = open_data(config, data_dir, workdir)
    for split in ("train", "val"):
        if not len(prepared.split(split)):
            raise UserError(
                f"split {split!r} of {prepared.folder} has no {prepared.item}, and training needs some; "
                f"prepare more data, or say in the source which albums are its {split!r} split"
            )
    final_split = next(split for split in FINAL_SPLITS if len(prepared.split(split)))
    mesh = devices.make_mesh()
    devices.check_batch_sizes(mesh, optim=config.optim.batch_size, album_optim=config.album_optim.batch_size)

    with only_one(workdir, "training") if processes.is_main() else nullcontext():
        # The run's folder: new, resumed or finished
        processes.main_first(lambda: start_or_resume(workdir, config, prepared, data_dir), str(workdir))
        constants, seen = read_constants(workdir)
        inputs = load_inputs(config, workdir)
        if (workdir / f"eval_{final_split}.json").exists():
            print(f"{workdir} is finished: python -m mumu_jax.evaluate --workdir={workdir} shows its metrics")
            return

        # Training
        with MetricsLog(workdir) if processes.is_main() else Silent() as log:
            fit_networks(prepared, inputs, constants, Run(config, workdir, mesh, log, stop, seen))

        # Final evaluation, of what the folder holds
        print_table(evaluate(load_run(workdir), prepared, final_split, workdir, stop.watch))
        print(f"run: {workdir}")


def start_or_resume(workdir: Path, config: Config, prepared: Dataset, data_dir: Path) -> None:
    """Make `workdir` this run's; raises UserError if it is another's."""
    if not claim(workdir, config, data_dir, prepared.checksum):
        constants, seen = fit_constants(config, prepared, data_dir)
        inputs = fit_inputs(config, prepared)
        weights = check_weights(config, network_of_items(inputs, constants), inputs.item)
        write_run(workdir, config, prepared.labels, constants, seen, inputs, data_dir, prepared.checksum, weights)


def fit_networks(prepared: Dataset, inputs: Inputs, constants: Constants, run: Run) -> None:
    """The network that sees the items; for tracks, the three steps of Oramas et al. 2017, section 5.1."""
    config, n_labels, phase = run.config, len(prepared.labels), prepared.item
    records = {split: prepared.split(split) for split in ("train", "val")}
    fixed = {split: inputs.items(found, n_labels) for split, found in records.items()}
    drawn = inputs.items(records["train"], n_labels, "random") if config.data.patch == "random" else fixed["train"]

    # Step 1: the network of the items
    feeds = open_feeds({"train": drawn, "val": fixed["val"]}, config.data, run.mesh)
    network = network_of_items(inputs, constants)
    print_trainable(config, network, inputs.item)
    source = source_of_weights(run.workdir)
    start = partial(start_from_weights, settings=config.model, source=source, mesh=run.mesh)
    variables = fit(Task(phase, network, constants, feeds["train"], feeds["val"], config.optim, start), run)
    if phase == "album":
        return

    # Step 2: the mean penultimate vector of each album
    track, rows = Trained(network, variables, constants), {}
    for split, found in records.items():
        feed = feeds[split]
        if feed.items.random:
            feed = Feed(fixed[split], "streaming", config.data.read_threads, run.mesh)
        tracks = predict_items(track, feed, config.optim.batch_size, config.loop.chunk_steps, run.stop.watch)
        albums = mean_by_album(tracks.embedding, tracks.labels, found.album_ids)
        rows[split] = array_items(albums.vectors, albums.labels)

    # Step 3: the album network
    feeds = open_feeds(rows, config.data, run.mesh)
    constants = constants_of_vectors(constants, rows["train"].item.shape[0])
    network = album_network(config, constants)
    fit(Task("album", network, constants, feeds["train"], feeds["val"], config.album_optim), run)


def fit_constants(config: Config, prepared: Dataset, data_dir: Path) -> tuple[Constants, Bool[np.ndarray, " labels"]]:
    """Input statistics and label factors, and which labels occur in training; warns of labels that do not.

    The factors come from all albums of train and validation, with the modality or without (section 6).
    """
    every = read_albums(prepared, data_dir)
    albums = [album for album in every if album.split in ("train", "val")]
    if config.target.kind == "softmax":
        check_single_label(every, data_dir)
    labels = _multi_hot_labels(albums, prepared.labels)
    present = set(prepared.split("train").album_ids)
    seen = np.asarray(labels[[album.album_id in present for album in albums]].any(axis=0))
    _warn(f"are on no training album with {prepared.name}: no network can learn them", prepared, ~seen)
    factors = np.zeros((len(seen), 0), np.float32)
    if config.target.kind == "cosine":
        try:
            found = cosine.label_factors(cosine.ppmi(labels), config.target.n_factors)
        except ValueError as error:
            raise UserError(f"{data_dir}: {error} (an experiment whose name ends in _logistic)") from error
        lost = ~np.asarray(cosine.has_direction(found))
        _warn("have no label factor: they score -1, and albums with no other label do not train", prepared, lost)
        factors = np.asarray(found)
    return Constants(prepared.mean, prepared.std, factors), seen


def _multi_hot_labels(albums: Sequence[Album], labels: Sequence[Label]) -> UInt8[np.ndarray, "albums labels"]:
    column = {label.name: i for i, label in enumerate(labels)}
    unknown = sorted({genre for album in albums for genre in album.genres} - set(column))
    if unknown:
        raise UserError(f"the manifest has the genre {unknown[0]!r}, the prepared data has not; prepare it again")
    return np.array([multi_hot([column[genre] for genre in album.genres], len(column)) for album in albums])


def make_mini_dataset() -> Path:
    """The built-in mini dataset, made where it is not there yet; says loudly that this is not the user's data."""
    print(
        f"*** no --data_dir and no $MUMU_DATA_DIR: training on the built-in mini dataset, in {MINI_DATA_DIR} ***\n"
        "*** made-up songs to try the system with; python -m mumu_jax.prepare --help prepares your own ***",
        file=sys.stderr,
    )
    processes.main_first(lambda: prepare(Job("synthetic", None, MINI_DATA_DIR)), str(MINI_DATA_DIR))
    return MINI_DATA_DIR


def _warn(what: str, prepared: Dataset, which: Bool[np.ndarray, " labels"]) -> None:
    names = [label.name for label, is_one in zip(prepared.labels, which, strict=True) if is_one]
    if names:
        shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
        print(f"warning: {len(names)} of {len(prepared.labels)} labels ({shown}) {what}", file=sys.stderr)


if __name__ == "__main__":
    run_command(main)
