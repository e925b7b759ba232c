"""The way of a split to chunks on the devices: held there (resident) or read again each epoch (streaming).

Both give the same bytes in the same order.
"""

from collections.abc import Iterator

import jax
import psutil
from jax.sharding import Mesh

from mumu_jax.batch import Batch
from mumu_jax.compute.devices import part_of_process, put_chunk
from mumu_jax.config import DataSettings
from mumu_jax.data.loader import Items, Schedule, stream
from mumu_jax.errors import UserError
from mumu_jax.system.lines import print_remark
from mumu_jax.system.memory import left_by_container
from mumu_jax.system.processes import is_main, least_of_all
from mumu_jax.training.resident import Resident

# The share of a device's memory that splits may take up: activations and the optimizer need the rest.
RESIDENT_SHARE = 0.5


class Feed:
    """A split, ready to be served in any schedule; `mode` is `resident` or `streaming`."""

    def __init__(self, items: Items, mode: str, read_threads: int, mesh: Mesh) -> None:
        self.items, self.mode, self.mesh, self._threads = items, mode, mesh, read_threads
        self._resident = Resident.load(items, mesh, read_threads) if mode == "resident" else None

    def chunks(self, schedule: Schedule, numbers: range) -> Iterator[Batch]:
        """Yield those chunks of the schedule, on the devices."""
        if self._resident is not None:
            return map(self._resident.chunk, map(schedule.rows, numbers), map(schedule.uniforms, numbers))
        part = part_of_process(schedule.batch_size)
        host_chunks = stream(self.items, schedule, numbers, self._threads, part)
        return (jax.block_until_ready(put_chunk(chunk, self.mesh)) for chunk in host_chunks)


def open_feeds(splits: dict[str, Items], settings: DataSettings, mesh: Mesh) -> dict[str, Feed]:
    """Open a feed for each split, in order, resident while memory lasts; prints which, and how large they are."""
    feeds, left = {}, RESIDENT_SHARE * _memory_bytes(mesh)
    for name, items in splits.items():
        fits = items.n_bytes <= left
        mode = settings.mode if settings.mode != "auto" else "resident" if fits else "streaming"
        size = f"{items.n_bytes / 1e9:.3f} GB"
        if mode == "resident" and not fits:
            raise UserError(
                f"config.data.mode='resident', but {name} needs {size} and {left / 1e9:.3f} GB are left for data; "
                "leave it out, or say 'streaming'"
            )
        if mode == "resident":
            left -= items.n_bytes
        if is_main():
            print_remark(f"{name}: {len(items):,} items, {size}, {mode}")
        feeds[name] = Feed(items, mode, settings.read_threads, mesh)
    return feeds


def _memory_bytes(mesh: Mesh) -> float:
    """Return the free memory of all devices: the smallest one's, times their number.  The same in all processes."""
    device = jax.local_devices()[0]
    stats = device.memory_stats()
    if stats is None:  # a CPU: its devices share the machine's memory, which also holds what is being read
        free = min(psutil.virtual_memory().available, left_by_container()) / 2 / jax.local_device_count()
    else:
        free = stats["bytes_limit"] - stats["bytes_in_use"]
    return least_of_all(free) * mesh.size
