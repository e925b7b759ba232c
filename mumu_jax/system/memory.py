"""The memory that a control group leaves to this process (Linux): a container's limit, or a job's."""

from pathlib import Path
from typing import NamedTuple


class _Files(NamedTuple):
    """The names of a version's files, and of the page cache that the kernel gives back first in `memory.stat`."""

    limit: str
    used: str
    cache: str


_VERSION_1 = _Files("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_VERSION_2 = _Files("memory.max", "memory.current", "inactive_file")


def left_by_container(process: Path = Path("/proc/self/cgroup"), mounted: Path = Path("/sys/fs/cgroup")) -> float:
    """Return what the limits on this process's control group and on those above it leave; infinite without a limit.

    Pages of files that were read count as used there, but make room for others: the inactive ones are left, too.
    """
    left = [float("inf")]
    for line in process.read_text().splitlines() if process.exists() else ():
        _, controllers, name = line.split(":", 2)  # such as 4:memory:/jobs/17; of version 2, 0::/jobs/17
        if controllers in ("", "memory"):
            root, files = (mounted / "memory", _VERSION_1) if controllers else (mounted, _VERSION_2)
            group = root / name.lstrip("/")
            left += [_left(folder, files) for folder in (group, *group.parents) if folder.is_relative_to(root)]
    return min(left)


def _left(group: Path, files: _Files) -> float:
    try:
        limit, used = (int((group / name).read_text()) for name in files[:2])
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return float(limit - used + int(stat[files.cache]))
    except (OSError, ValueError, KeyError):  # another version's group, one that is not visible here, or no limit: `max`
        return float("inf")
