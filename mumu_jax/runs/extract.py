"""From a trained run to the feature vectors of its albums, and from runs to what a fusion keeps of them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from mumu_jax.batch import Batch
from mumu_jax.compute import devices
from mumu_jax.compute.predict import SplitPredictions, predict
from mumu_jax.config import Config
from mumu_jax.data.loader import Items, Schedule
from mumu_jax.data.manifest import SPLITS
from mumu_jax.data.store.records import Dataset, Prepared, Records, open_prepared, read_albums
from mumu_jax.errors import UserError
from mumu_jax.runs.albums import AlbumVectors, mean_by_album
from mumu_jax.runs.features import Features
from mumu_jax.runs.folder import Trained, TrainedRun, check_settings, fingerprint, load_run
from mumu_jax.runs.fusion import FUSION, Kept, check_data, keep, read_kept
from mumu_jax.system import processes
from mumu_jax.system.files import only_one
from mumu_jax.training.feed import Feed

Watch = Callable[[Iterable[Batch]], Iterator[Batch]]


def predict_items(
    trained: Trained, feed: Feed, batch_size: int, chunk_steps: int, watch: Watch = iter
) -> SplitPredictions:
    """The predictions of a network that was read from a run's folder, which may come from another machine.

    Batches are of `batch_size` items, or of as many more as it takes for the devices to divide them; `watch` sees
    their chunks pass, and may end it all.
    """
    in_order = Schedule(len(feed.items), batch_size + -batch_size % feed.mesh.size, chunk_steps)
    chunks = watch(feed.chunks(in_order, range(in_order.epoch_chunks)))
    variables, constants = devices.put_replicated((trained.variables, trained.constants), feed.mesh)
    return predict(variables, chunks, constants, trained.network, feed.mesh)


def predict_once(trained: Trained, items: Items, config: Config, watch: Watch = iter) -> SplitPredictions:
    """`predict_items` of items that are needed once, in the run's own batches."""
    feed = Feed(items, "streaming", config.data.read_threads, devices.make_mesh())
    return predict_items(trained, feed, config.optim.batch_size, config.loop.chunk_steps, watch)


def see_items(run: TrainedRun, records: Records, watch: Watch = iter) -> tuple[SplitPredictions, AlbumVectors]:
    """(what the run's first network makes of the records, the feature vectors of their albums).

    The vectors are the mean of an album's tracks (Oramas et al. 2017, section 5.1, step 2), or of the album's own item.
    """
    found = predict_once(run.first, run.inputs.items(records, len(run.labels)), run.config, watch)
    if run.track is None:
        return found, AlbumVectors(records.album_ids, found.embedding, found.labels)
    return found, mean_by_album(found.embedding, found.labels, records.album_ids)


def extract_features(run: TrainedRun, dataset: Dataset, name: str, watch: Watch = iter) -> Features:
    """The vectors of the albums of all splits; `name` is the run's fingerprint."""
    of_splits = {split: dataset.split(split) for split in SPLITS}
    found = {split: see_items(run, records, watch)[1] for split, records in of_splits.items() if len(records)}
    return Features(
        [album_id for albums in found.values() for album_id in albums.album_ids],
        [split for split, albums in found.items() for _ in albums.album_ids],
        np.concatenate([albums.labels for albums in found.values()]),
        np.concatenate([albums.vectors for albums in found.values()]),
        [label.name for label in run.labels],
        name,
    )


def keep_features(
    config: Config, runs: Mapping[str, Path] | None, data_dir: Path | None, workdir: Path, watch: Watch = iter
) -> Path:
    """Let the fusion in `workdir` keep the vectors of `runs`, if it does not yet: the folder of their data.

    `data_dir` is where the runs' data lies now; where it was in their training by default.  Raises UserError where runs
    do not fit one another or the data, and where others are kept.
    """
    check_settings(workdir, config)
    names = config.fusion.names
    if processes.any_of_all((workdir / FUSION).exists())[0]:
        kept = read_kept(workdir)
        if list(kept.sources) != names:
            joined = ", ".join(kept.sources)
            raise UserError(
                f"{workdir} keeps the vectors of {joined}, not of {', '.join(names)}; give another --workdir"
            )
        _check_kept(kept, runs or {}, workdir)
        if data_dir:
            check_data(kept, workdir, data_dir)
        return data_dir or kept.data_dir
    if runs is None:
        wanted = ",".join(f"{name}=RUN" for name in names)
        raise UserError(f"{config.name} joins the vectors of trained runs; name their folders: --features={wanted}")
    opened = {name: _open_source(name, path, data_dir) for name, path in runs.items()}
    (first, (run, prepared)), *others = opened.items()
    data_dir = data_dir or run.data_dir
    for name, (_, other) in others:
        for what, same in (
            ("labels", other.labels == prepared.labels),
            ("albums, splits or genres", other.albums_sha256 == prepared.albums_sha256),
        ):
            if not same:
                raise UserError(
                    f"{runs[name]} was trained on other {what} ({other.folder}) than {runs[first]} "
                    f"({prepared.folder}); train both on the same data"
                )
    read_albums(prepared, data_dir)
    features = {
        name: extract_features(run, prepared, fingerprint(runs[name]), watch)
        for name, (run, prepared) in opened.items()
    }

    def write() -> None:
        with only_one(workdir, "training"):
            keep(workdir, data_dir, prepared, runs, features)

    processes.main_first(write, str(workdir))
    return data_dir


def _open_source(name: str, path: Path, data_dir: Path | None) -> tuple[TrainedRun, Prepared]:
    run = load_run(path)
    if run.config.modality != name:
        raise UserError(
            f"--features: {name}={path} is a run of {run.config.modality} ({run.config.name}); name one of {name}"
        )
    prepared = open_prepared(data_dir or run.data_dir, run.config.prepared_with)
    if prepared.checksum != run.data_checksum:
        what = "labels" if prepared.labels != run.labels else "records"
        raise UserError(
            f"{path} was trained on other {what} than {prepared.folder} holds, and would mix up the splits; train it "
            f"anew on that data, or give the --data_dir that it was trained on (it was {run.data_dir})"
        )
    return run, prepared


def _check_kept(kept: Kept, runs: Mapping[str, Path], workdir: Path) -> None:
    """Raise UserError where `runs` are not those whose vectors are kept, or have changed; they may be gone."""
    for name, path in runs.items():
        source, there = kept.sources[name], (path / "config.json").exists()
        found = fingerprint(path) if there else "not there"
        if found != source.fingerprint and (there or str(path.absolute()) != source.path):
            raise UserError(
                f"{workdir} keeps the vectors of {name}={source.path} ({source.fingerprint}), not of {path} ({found}); "
                "leave --features out to go on with those, or give another --workdir"
            )
