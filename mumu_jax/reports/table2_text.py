"""Table 2 as text: on the terminal, as Markdown, and in words what it shows."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from mumu_jax.objectives.metrics import KS
from mumu_jax.reports.table2 import Row

COLUMNS = (
    *("row", "target", "params", "paper", "s/epoch", "K40", "seeds", "AUC", "paper"),
    *(c for k in KS for c in (f"C@{k}", "paper")),
)
TITLE = "Table 2, test albums: ours, each beside the paper's; K40 is its seconds an epoch (2017, Tesla K40)"
EXACT_BELOW = 100_000  # parameters; others in millions
CHANCE = 0.5  # the ROC-AUC of random scores


def print_rows(rows: Sequence[Row]) -> None:
    """The table on the terminal, and below it what else there is to say."""
    table = Table(title=TITLE, title_justify="left")
    for i, title in enumerate(COLUMNS):
        table.add_column(title, justify="left" if i < 2 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*cells(row))
    console = Console(width=max(150, Console().width))
    console.print(table)
    for line in remarks(rows):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def as_markdown(rows: Sequence[Row]) -> str:
    """The same title, table and lines."""
    lines = [COLUMNS, ["---", "---", *["---:"] * (len(COLUMNS) - 2)], *map(cells, rows)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{TITLE}\n\n{table}\n\n" + "".join(f"* {line}\n" for line in remarks(rows))


def cells(row: Row) -> list[str]:
    """One line of the table, a text for each of COLUMNS."""
    auc = _number(row.roc_auc_mean, ".3f")
    if row.roc_auc_sd is not None:
        auc += f" ± {row.roc_auc_sd:.3f}"
    coverage = [_number(getattr(row, f"{whose}coverage_at_{k}"), ".2f") for k in KS for whose in ("", "paper_")]
    return [
        *(row.row, row.target),
        *("" if row.params is None else _count(row.params), row.paper_params),
        *(_number(row.epoch_s, ".3g"), _number(row.paper_epoch_s, ",.0f")),
        *("" if not row.seeds else str(row.seeds), auc, _number(row.paper_roc_auc, ".3f")),
        *coverage,
    ]


def remarks(rows: Sequence[Row]) -> list[str]:
    """What the numbers show, what was made smaller, what has no result and why."""
    cuts: dict[str, list[str]] = {}
    for row in rows:
        if row.cuts:
            cuts.setdefault(row.cuts, []).append(row.row)
    made_smaller = [f"{', '.join(dict.fromkeys(names))}: {what}" for what, names in cuts.items()]
    return [*finding(rows), *made_smaller, *(f"{row.row} {row.target}: {row.note}" for row in rows if row.note)]


def finding(rows: Sequence[Row]) -> list[str]:
    """The best of one modality beside the best fusion; nothing where one is missing."""
    measured = [row for row in rows if row.roc_auc_mean is not None]
    fusions = [row for row in measured if row.row.startswith("fusion_")]
    singles = [row for row in measured if row not in fusions]
    if not (fusions and singles):
        return []
    best = [max(group, key=lambda row: row.roc_auc_mean or 0) for group in (singles, fusions)]
    single, fusion = (f"{row.row} {row.target} ({row.roc_auc_mean:.3f})" for row in best)
    least = min(row.roc_auc_mean or 0 for row in measured)
    return [f"AUC: best of one modality {single}, best fusion {fusion}, the lowest of all {least:.3f}, chance {CHANCE}"]


def _count(n_params: int) -> str:
    return f"{n_params:,}" if n_params < EXACT_BELOW else f"{n_params / 1e6:.2f}M"


def _number(value: float | None, how: str) -> str:
    return "" if value is None else f"{value:{how}}"
