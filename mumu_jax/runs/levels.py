"""The predictions of a run's networks for a split, by level: of the tracks, if there are tracks, and of the albums."""

from typing import NamedTuple

from mumu_jax.compute.predict import SplitPredictions
from mumu_jax.data.loader import Records
from mumu_jax.runs.folder import TrainedRun
from mumu_jax.runs.prediction import Watch, predict_once, see_items


class Level(NamedTuple):
    """The predictions of one network, and the ids of its items."""

    ids: list[str]
    predictions: SplitPredictions


def score_levels(run: TrainedRun, records: Records, watch: Watch) -> dict[str, Level]:
    """Score the tracks, if there are tracks, and the albums."""
    predictions, albums = see_items(run, records, watch)
    if run.track is None:
        return {"album": Level(albums.album_ids, predictions)}
    of_albums = predict_once(run.album, albums.items, run.config, watch)
    return {"track": Level(records.item_ids, predictions), "album": Level(albums.album_ids, of_albums)}
