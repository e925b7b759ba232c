"""Records of earlier shards: copied into new ones if nothing that made them has changed, instead of made again.

One song more moves all songs behind it to other shards.  Shards that are no longer wanted are set aside until the new
ones are finished, so that only what is new is decoded.  They survive a kill, and the next call copies from them.
"""

import contextlib
import shutil
from collections.abc import Container
from pathlib import Path
from typing import Any

from array_record.python.array_record_data_source import ArrayRecordDataSource

from mumu_jax.data.modalities.base import Content, PreparedModality
from mumu_jax.data.store import records
from mumu_jax.data.store.records import Sidecar
from mumu_jax.errors import UserError

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
    """The records that were set aside, by the item and the state that they were made of; none of damaged shards."""

    def __init__(self, folder: Path, modality: PreparedModality, settings: Any) -> None:
        self._modality, self._settings = modality, settings
        self._places: dict[tuple[str, str], tuple[Path, int]] = {}
        self._sidecars: dict[Path, Sidecar] = {}
        for path in sorted((folder / FOLDER).glob("*.json")):
            with contextlib.suppress(OSError, ValueError, UserError):
                shard, sidecar = path.with_suffix(""), records.read_as(Sidecar, path)
                records.check_shard(shard, sidecar, verify=True)
                self._sidecars[shard] = sidecar
                for row, ((_, item_id), made) in enumerate(zip(sidecar.ids, sidecar.made, strict=True)):
                    if made.state:
                        self._places[item_id, made.state] = shard, row
        self._open: tuple[Path | None, Any] = None, None

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
        return Content(fields, counts, likeness=sidecar.likeness[row] if sidecar.likeness else "")
