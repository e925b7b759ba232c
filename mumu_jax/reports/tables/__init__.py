"""The published tables that `mumu_jax.reproduce` measures again, by the names that --table takes."""

from pathlib import Path

from mumu_jax.reports.tables.base import Table
from mumu_jax.reports.tables.multiframe import MULTIFRAME
from mumu_jax.reports.tables.ru2023 import RU2023
from mumu_jax.reports.tables.table2 import TABLE2
from mumu_jax.reports.tables.won2020 import WON2020

TABLES: dict[str, Table] = {table.name: table for table in (TABLE2, MULTIFRAME, RU2023, WON2020)}


def table_in(workdir: Path) -> Table | None:
    """Return the table that was measured in a folder; None if there is none."""
    return next((table for table in TABLES.values() if (workdir / table.csv).exists()), None)
