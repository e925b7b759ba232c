"""Records of earlier shards: copied into new ones if nothing that made them has changed, instead of made again.

One song more moves all songs behind it to other shards.  Shards that are no longer wanted are set aside until the new
ones are finished, so that only what is new is decoded.  They survive a kill, and the next call copies from them.
"""

import shutil
from collections.abc import Collection, Container
from pathlib import Path
from typing import Any

from array_record.python.array_record_data_source import ArrayRecordDataSource

from mumu_jax.data.modalities.base import Content, PreparedModality
from mumu_jax.data.store import records
from mumu_jax.data.store.records import Sidecar
from mumu_jax.errors import UserError
from mumu_jax.system.lines import print_remark

FOLDER = ".earlier"
SHARDS = "mumu-*.array_record-*"


def set_aside(folder: Path, wanted: Container[str]) -> None:
    """Move the finished shards that are not `wanted` out of the way, and remove the unfinished ones."""
    aside = folder / FOLDER
    for path in folder.glob(SHARDS):
        sidecar = folder / records.sidecar_of(path.name)
        if path.name not in wanted and sidecar.exists():
            aside.mkdir(exist_ok=True)
            number = sum(1 for _ in aside.glob("*.json"))  # an earlier call may have set one of this name aside
            path.replace(aside / f"{number}-{path.name}")
            sidecar.replace(aside / f"{number}-{path.name}.json")
    for pattern in (SHARDS, f".{SHARDS}", "sidecars/mumu-*", "sidecars/.mumu-*"):
        for path in folder.glob(pattern):
            if path.name.removesuffix(".json") not in wanted:
                path.unlink()


def remove(folder: Path) -> None:
    """Remove the shards that were set aside."""
    shutil.rmtree(folder / FOLDER, ignore_errors=True)


class Earlier:
    """The records that were set aside and are `wanted`, by the item and the state that they were made of."""

    def __init__(
        self, folder: Path, modality: PreparedModality, settings: Any, wanted: Collection[tuple[str, str]]
    ) -> None:
        self._modality, self._settings = modality, settings
        self._places: dict[tuple[str, str], tuple[Path, int]] = {}
        self._sidecars: dict[Path, Sidecar] = {}
        for path in sorted((folder / FOLDER).glob("*.json")):
            shard = path.with_suffix("")
            try:
                sidecar = records.read_as(Sidecar, path)
                places = self._places_in(shard, sidecar, wanted)
                if places:
                    records.check_shard(shard, sidecar, verify=True)
            except (OSError, ValueError, UserError) as error:
                print_remark(f"warning: {shard} cannot be copied from ({error}): its items are read again")
                continue
            self._sidecars[shard] = sidecar
            self._places |= places
        self._open: tuple[Path | None, Any] = None, None

    @staticmethod
    def _places_in(
        shard: Path, sidecar: Sidecar, wanted: Collection[tuple[str, str]]
    ) -> dict[tuple[str, str], tuple[Path, int]]:
        """Return the places of the wanted records of a shard; none if it is from before their origin was stored."""
        items = zip(sidecar.ids, sidecar.made, strict=False)
        places = {(item_id, made.state): (shard, row) for row, ((_, item_id), made) in enumerate(items)}
        return {item: place for item, place in places.items() if item in wanted}

    def has(self, item_id: str, state: str) -> bool:
        """Return True if a record was made of the item in this state."""
        return (item_id, state) in self._places

    def read(self, item_id: str, state: str) -> Content:
        """Return what was made of the item."""
        path, row = self._places[item_id, state]
        sidecar = self._sidecars[path]
        if self._open[0] != path:  # items come in the order of their shards
            self._open = path, ArrayRecordDataSource([f"{path}[0:{sidecar.records}]"])
        fields = records.decode(self._open[1][row], self._modality, self._settings)
        counts = dict(zip(self._modality.counts, sidecar.made[row].counts, strict=True))
        likeness = sidecar.likeness[row] if sidecar.likeness else ""
        if self._modality.has_likeness and not likeness:  # from before recordings were compared
            likeness = self._modality.likeness(fields, self._settings).hex()
        return Content(fields, counts, likeness=likeness)
