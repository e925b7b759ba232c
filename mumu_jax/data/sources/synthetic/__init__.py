"""The mini dataset: a stand-in for MuMu that is made, not downloaded.

Audio files with their timbre, review texts and covers that depend on an album's genres, with overlap and noise:
each modality alone tells something of the genres, together they tell more.
"""

import hashlib
import shutil
from collections.abc import Mapping
from contextlib import closing
from functools import partial
from pathlib import Path

from mumu_jax.data.manifest import Album
from mumu_jax.data.modalities.text.entities import write_gazetteer
from mumu_jax.data.sources.base import Collection, Request
from mumu_jax.data.sources.synthetic.albums import N_ALBUMS, Plan, plan_albums
from mumu_jax.data.sources.synthetic.files import make_files
from mumu_jax.data.sources.synthetic.gazetteer import GAZETTEER
from mumu_jax.data.sources.synthetic.genres import LABELS
from mumu_jax.errors import UserError
from mumu_jax.system.terminal import progress_bar
from mumu_jax.system.workers import map_in_order

SEED = 0
FOLDERS = ("audio", "covers", "msd")


def read(input: Path | None, request: Request) -> Collection:
    """Make the mini dataset under `data_dir`/source, or what is missing of it, in `workers` processes."""
    if input is not None:
        raise UserError(f"the synthetic source is made, not read: leave out --input={input}")
    folder = request.data_dir / "source"
    albums = make(folder, SEED, request.workers)
    write_names(folder / "gazetteer")
    return Collection(albums, LABELS, gazetteer=folder / "gazetteer")


def write_names(path: Path) -> None:
    """The made-up names that the texts hold, and their categories, as a gazetteer."""
    write_gazetteer(path, {name: name for name in GAZETTEER}, GAZETTEER)


def make(folder: Path, seed: int, workers: int, n_albums: Mapping[str, int] = N_ALBUMS) -> list[Album]:
    """The albums of `seed`, with their files in `folder`.

    Finished files of the same recipe (this code and these arguments) are used again; others are removed.
    """
    plans = plan_albums(seed, n_albums)
    _start_recipe(folder, repr((seed, sorted(n_albums.items()))))
    made = map_in_order(partial(make_files, folder=folder), plans, workers, _died)
    with closing(made), progress_bar(len(plans), "making the mini dataset") as bar:
        albums = []
        for album in made:
            albums.append(album)
            bar.advance()
    return albums


def _died(plan: Plan) -> Album:
    raise UserError(f"the process that makes album {plan.album_id} died, twice; free some memory, then call again")


def _start_recipe(folder: Path, arguments: str) -> None:
    """Make the folders, and remove files made by other code or with other arguments."""
    code = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
    recipe = hashlib.sha256(code + arguments.encode()).hexdigest()
    stamp = folder / "recipe"
    if not stamp.exists() or stamp.read_text() != recipe:
        for name in FOLDERS:
            shutil.rmtree(folder / name, ignore_errors=True)
    for name in FOLDERS:
        (folder / name).mkdir(parents=True, exist_ok=True)
    stamp.write_text(recipe)
