"""Table 2 of Oramas et al. 2017: each row as we measured it, beside what is printed there."""

import csv
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from mumu_jax.atomic import replacing
from mumu_jax.errors import UserError

TABLE = "table2.csv"


@dataclass(frozen=True)
class Row:
    """One row: an experiment is `row`_`target`.  None stands for what was not measured, or is not in the paper.

    The metrics are of the albums of the test split, means over `seeds` runs; `epoch_s` is the median, training and
    validation.  `cuts` says what the preset made smaller, `note` why there is no result.
    """

    row: str
    target: str
    params: int | None = None
    epoch_s: float | None = None
    roc_auc_mean: float | None = None
    roc_auc_sd: float | None = None
    coverage_at_1: float | None = None
    coverage_at_3: float | None = None
    coverage_at_5: float | None = None
    seeds: int = 0
    cuts: str = ""
    note: str = ""
    paper_params: str = ""
    paper_epoch_s: float | None = None
    paper_roc_auc: float | None = None
    paper_coverage_at_1: float | None = None
    paper_coverage_at_3: float | None = None
    paper_coverage_at_5: float | None = None


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """A CSV with a line a row; an empty cell is None."""
    with replacing(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in dataclasses.fields(Row)])
        writer.writeheader()
        writer.writerows(map(dataclasses.asdict, rows))


def read_table(path: Path) -> list[Row]:
    """What `write_table` wrote.  Raises UserError on anything else."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [_row(line) for line in csv.DictReader(file)]
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is not a table of mumu_jax.reproduce ({error!r}); make it anew with that") from error


def _row(line: dict[str, Any]) -> Row:
    hints = get_type_hints(Row)
    return Row(**{name: _value(text, hints[name]) for name, text in line.items() if name in hints})


def _value(text: str, hint: Any) -> Any:
    if hint is str:
        return text
    if text == "":
        return None
    return int(text) if hint in (int, int | None) else float(text)
