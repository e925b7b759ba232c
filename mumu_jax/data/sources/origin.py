"""The origin of prepared data: its source, and the part of a public data set, in `source.json` beside the manifest."""

import json
from pathlib import Path

import msgspec
from msgspec import Struct

from mumu_jax.errors import UserError
from mumu_jax.system.files import write_json

FILE = "source.json"


class Origin(Struct, frozen=True):
    """A source by the name that --source takes, and the subset and fold of a public data set.

    `changed_by` has the options of `prepare` that gave it other albums or genres than the source has.
    """

    source: str
    subset: str = ""
    fold: int = 0
    changed_by: tuple[str, ...] = ()


def write_origin(data_dir: Path, origin: Origin) -> None:
    """Write the origin of the data in `data_dir`."""
    write_json(data_dir / FILE, msgspec.to_builtins(origin))


def read_origin(data_dir: Path) -> Origin | None:
    """Return the origin of prepared data; None if an earlier version has prepared it.

    Raises UserError if the file is damaged.
    """
    path = data_dir / FILE
    if not path.exists():
        return None
    try:
        return msgspec.convert(json.loads(path.read_bytes()), Origin)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not what prepare writes ({error}); call the same prepare again") from error
