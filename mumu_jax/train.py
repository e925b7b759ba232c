"""`python -m mumu_jax.train --config=NAME`: train a named experiment, of tracks also their albums, and evaluate."""

import os
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path

from mumu_jax.compute import devices
from mumu_jax.compute.network import album_network, constants_of_vectors, item_network
from mumu_jax.config import Config
from mumu_jax.data.loader import Records
from mumu_jax.data.modalities.inputs import Inputs
from mumu_jax.data.preparation.job import Job, prepare
from mumu_jax.data.store.pairs import parts_of
from mumu_jax.data.store.records import Dataset
from mumu_jax.errors import UserError
from mumu_jax.evaluate import print_table
from mumu_jax.models import family_of
from mumu_jax.runs.albums import AlbumMeans, AlbumVectors
from mumu_jax.runs.baseline import Linear, fit_baseline, write_baseline
from mumu_jax.runs.boosting import fit_trees
from mumu_jax.runs.calibration import calibrate, write_calibrator
from mumu_jax.runs.constants import fit_constants, read_constants
from mumu_jax.runs.evaluation import evaluate
from mumu_jax.runs.flags import parse_flags, print_experiments
from mumu_jax.runs.folder import (
    BASELINE,
    FINAL_SPLITS,
    Trained,
    as_recorded,
    check_run,
    is_begun,
    load_run,
    seal_settings,
    source_of_weights,
    write_run,
)
from mumu_jax.runs.formulations import choose_formulations
from mumu_jax.runs.fusion import keep_features, open_data
from mumu_jax.runs.output_layer import fit_output_layer, is_frozen_before_output, keep_output_layer
from mumu_jax.runs.prediction import predict_items
from mumu_jax.runs.published import check_front_end
from mumu_jax.runs.settings import check_network, has_album_network, remedy_of_few
from mumu_jax.system import processes
from mumu_jax.system.cache import keep_compiled_programs
from mumu_jax.system.files import only_one
from mumu_jax.system.lines import print_line, print_remark
from mumu_jax.system.seals import seal
from mumu_jax.system.signals import EXIT_INTERRUPTED, Interrupted, StopRequest, stop_on_signal
from mumu_jax.system.terminal import run_command
from mumu_jax.training.feed import Feed, open_feeds
from mumu_jax.training.log import METRICS, PERF, MetricsLog, Silent
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
    if arguments.note and processes.is_main():
        print_remark(arguments.note)
    config, named_dir = arguments.config, arguments.data_dir or os.environ.get("MUMU_DATA_DIR")
    check_network(config)
    data_dir = Path(named_dir) if named_dir else None
    workdir = Path(arguments.workdir or f"runs/{config.name}")
    with stop_on_signal() as stop:
        try:
            if Inputs.unfitted(config).prepared:
                data_dir = data_dir or make_mini_dataset()
            else:
                data_dir = keep_features(config, arguments.runs, data_dir, workdir, stop.watch)
            train(config, data_dir, workdir, stop)
        except Interrupted as interrupted:
            print_remark(f"{interrupted}; the same command goes on from here")
            return EXIT_INTERRUPTED
    return 0


def train(config: Config, data_dir: Path, workdir: Path, stop: StopRequest) -> None:
    """Train both networks and evaluate them.  Called again, it resumes."""
    # Data and devices
    dataset = open_data(config, data_dir, workdir)
    for split in ("train", "val"):
        if not len(dataset.split(split)):
            raise UserError(
                f"split {split!r} of {dataset.folder} has no {dataset.item}, and training needs some; "
                f"prepare more data, or say in the source which albums are its {split!r} split"
            )
    final_split = next(split for split in FINAL_SPLITS if len(dataset.split(split)))
    if final_split != FINAL_SPLITS[0] and processes.is_main():
        print_remark(f"the {FINAL_SPLITS[0]} split is empty: the run is scored on its {final_split} split")
    mesh = devices.make_mesh()
    second = {"album_optim": config.album_optim.batch_size} if has_album_network(config) else {}
    devices.check_batch_sizes(mesh, optim=config.optim.batch_size, **second)

    with only_one(workdir, "training") if processes.is_main() else nullcontext():
        # The run's folder: new, resumed or finished
        processes.main_first(lambda: start_or_resume(workdir, config, dataset, data_dir), str(workdir))
        if processes.any_of_all((workdir / f"eval_{final_split}.json").exists())[0]:  # the same answer in all
            print_line(f"{workdir} is finished: python -m mumu_jax.evaluate --workdir={workdir} shows its metrics")
            return

        # Training
        with MetricsLog(workdir) if processes.is_main() else Silent() as log:
            fit_networks(dataset, config, workdir, log, stop)
        baseline = fit_baseline(Inputs.load(config, workdir), dataset, stop.watch)
        processes.main_first(lambda: finish(workdir, baseline), str(workdir))

        # Thresholds and final evaluation, of what the folder holds
        run = load_run(workdir)
        calibrator = calibrate(run, dataset, stop.watch)
        processes.main_first(lambda: write_calibrator(workdir, calibrator), str(workdir))
        result = evaluate(run, dataset, final_split, workdir, stop.watch)
        print_table(result, remedy_of_few(config))
        print_line(f"a page of it: python -m mumu_jax.report --workdir={workdir}")
        print_line(f"run: {workdir}")


def start_or_resume(workdir: Path, config: Config, dataset: Dataset, data_dir: Path) -> None:
    """Make `workdir` this run's folder; raises UserError if it is another's."""
    check_run(workdir)
    if is_begun(workdir, config, data_dir, dataset.checksum):
        seal_settings(workdir)
        return
    choice = choose_formulations(config)
    constants, seen = fit_constants(config, dataset, data_dir)
    folders = {name: part.folder for name, part in parts_of(dataset, config).items()}
    inputs = Inputs.fit(config, dataset.split("train"), folders)
    network = item_network(config, len(dataset.labels), constants.fitted)
    check_front_end(config)
    weights = check_weights(config, network, inputs.item)
    data = {"dir": str(data_dir.absolute()), "checksum": dataset.checksum}
    write_run(workdir, inputs, dataset.labels, constants, seen, data, weights, choice)


def finish(workdir: Path, baseline: Linear | None) -> None:
    """Write what comes after training, and record the checksums of what it wrote."""
    write_baseline(workdir, baseline)
    seal(workdir, METRICS, PERF, BASELINE)


def fit_networks(dataset: Dataset, config: Config, workdir: Path, log: MetricsLog, stop: StopRequest) -> None:
    """Train the network that sees the items; for tracks, take the three steps of Oramas et al. 2017, section 5.1."""
    constants, seen = read_constants(workdir, config)
    inputs, n_labels = Inputs.load(config, workdir), len(dataset.labels)
    run = Run(config, workdir, devices.make_mesh(), log, stop, seen)
    records = {split: dataset.split(split) for split in ("train", "val")}
    network = as_recorded(item_network(config, n_labels, constants.fitted), workdir)
    if not family_of(config).by_gradient:
        variables = fit_trees(network, constants, inputs, records, run)
        if inputs.level == "track":
            keep_output_layer(Trained(network, variables, constants), inputs.item, run)
        return

    # Step 1: the network of the items
    fixed = {split: inputs.items(one, n_labels) for split, one in records.items()}
    drawn = inputs.items(records["train"], n_labels, "random") if config.data.patch == "random" else fixed["train"]
    is_frozen = not drawn.cuts and is_frozen_before_output(network, inputs.item)
    feeds = {} if is_frozen else open_feeds({"train": drawn, "val": fixed["val"]}, config.data, run.mesh)
    print_trainable(network, inputs.item)
    start = partial(start_from_weights, settings=config.model, source=source_of_weights(workdir), mesh=run.mesh)
    if is_frozen:
        variables = fit_output_layer(network, constants, start, inputs, records, run)
    else:
        variables = fit(Task(inputs.level, network, constants, feeds["train"], feeds["val"], config.optim, start), run)
    if inputs.level == "album":
        return

    track = Trained(network, variables, constants)
    if config.model.albums == "mean":
        keep_output_layer(track, inputs.item, run)
        return

    # Step 2: the mean penultimate vector of each album
    if drawn.cuts:
        del feeds["train"]
    feeds = {split: Feed(one, "streaming", config.data.read_threads, run.mesh) for split, one in fixed.items()} | feeds
    albums = {split: _albums_of(track, feeds[split], one, run) for split, one in records.items()}

    # Step 3: the album network
    feeds = open_feeds({split: vectors.items for split, vectors in albums.items()}, config.data, run.mesh)
    constants = constants_of_vectors(constants, albums["train"].vectors.shape[1])
    network = album_network(config, n_labels, constants.fitted)
    fit(Task("album", network, constants, feeds["train"], feeds["val"], config.album_optim), run)


def _albums_of(track: Trained, feed: Feed, records: Records, run: Run) -> AlbumVectors:
    means, optim, loop = AlbumMeans(records.album_ids), run.config.optim, run.config.loop
    tracks = predict_items(track, feed, optim.batch_size, loop.chunk_steps, run.stop.watch, means.add)
    return means.albums(tracks.labels)


def make_mini_dataset() -> Path:
    """Make the built-in mini dataset unless it is there; says loudly that this is not the user's data."""
    print_remark(f"*** no --data_dir, no $MUMU_DATA_DIR: training on the built-in mini dataset, in {MINI_DATA_DIR} ***")
    print_remark("*** made-up songs to try the system with; python -m mumu_jax.prepare --help prepares your own ***")
    processes.main_first(lambda: prepare(Job("synthetic", None, MINI_DATA_DIR)), str(MINI_DATA_DIR))
    return MINI_DATA_DIR


if __name__ == "__main__":
    run_command(main)
