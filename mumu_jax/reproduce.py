"""`python -m mumu_jax.reproduce`: the paper's Table 2, every row that the data allows, trained and beside the paper's.

What is finished is not done again.  A row that fails is told at the end, and the same command tries it once more.
"""

import argparse
import json
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import jax

from mumu_jax import progress
from mumu_jax.atomic import only_one, replacing, write_json
from mumu_jax.cli import positive, run_command
from mumu_jax.compiled import keep_compiled_programs
from mumu_jax.errors import UserError
from mumu_jax.extract import keep_features
from mumu_jax.flags import check_network
from mumu_jax.plan import Plan, make_plan
from mumu_jax.presets import PRESETS
from mumu_jax.reports.page import make_page
from mumu_jax.signals import EXIT_INTERRUPTED, Interrupted, StopWish, stop_wish
from mumu_jax.table2 import MARKDOWN, TABLE, Row, measure, read_result, run_folder, write_table
from mumu_jax.table2_text import as_markdown, print_rows
from mumu_jax.train import train

SETTINGS, REPORT = "reproduce.json", "report.html"


def main(argv: Sequence[str]) -> int:
    """Train what is not trained yet, and show the table; 1 if a row failed."""
    arguments = _parser().parse_args(argv)
    keep_compiled_programs()
    plan = make_plan(arguments.data_dir, arguments.rows, arguments.preset, arguments.seeds, arguments.image_weights)
    workdir = arguments.workdir
    with only_one(workdir, "reproducing the table in"), stop_wish() as stop:
        _claim(workdir, plan)
        try:
            failed = reproduce(plan, workdir, stop)
        except Interrupted as interrupted:
            print(f"{interrupted}; the same command goes on from here", file=sys.stderr)
            return EXIT_INTERRUPTED
        rows = _write(workdir, plan, failed)
    print_rows(rows)
    for (row, seed), why in failed.items():
        print(f"failed: {row}, seed {seed}: {why}; see {_log(workdir, row, seed)}", file=sys.stderr)
    with replacing(workdir / REPORT) as part:
        part.write_text(make_page(workdir, None), encoding="utf-8")
    print(f"written: {', '.join(str(workdir / name) for name in (TABLE, MARKDOWN, REPORT))}")
    return 1 if failed else 0


def reproduce(plan: Plan, workdir: Path, stop: StopWish) -> dict[tuple[str, int], str]:
    """Do all runs of the plan that are not finished, keeping the table up to date: why those that failed did."""
    failed: dict[tuple[str, int], str] = {}
    todo = [run for run in plan.runs if read_result(run_folder(workdir, *run)) is None]
    start, n_runs = time.monotonic(), len(plan.runs)
    n_before = n_runs - len(todo)
    if n_before:
        print(f"{n_before} of {n_runs} runs are finished already")
    with progress.bar(n_runs, "Table 2", n_before) as bar:
        for n_done, (row, seed) in enumerate(todo, n_before + 1):
            bar.advance(0, f"{row}, seed {seed}")
            began = time.monotonic()
            why = _try(plan, workdir, row, seed, failed, stop)
            if why:
                failed[row, seed] = why
            bar.advance()
            _write(workdir, plan, failed)
            said = f"failed: {why}" if why else _summary(run_folder(workdir, row, seed))
            print(f"{n_done:3}/{n_runs}  {row}, seed {seed}: {said}, {time.monotonic() - began:.0f} s", flush=True)
    print(f"{len(todo)} runs in {(time.monotonic() - start) / 60:.1f} min")
    return failed


def _try(plan: Plan, workdir: Path, row: str, seed: int, failed: Mapping[tuple[str, int], str], stop: StopWish) -> str:
    """Train and evaluate one run; why it failed, if it did.  What it says goes to its own file."""
    log = _log(workdir, row, seed)
    log.parent.mkdir(exist_ok=True)
    with log.open("a", encoding="utf-8") as file, redirect_stdout(file), redirect_stderr(file):
        try:
            _run(plan, workdir, row, seed, failed, stop)
        except Interrupted:
            raise
        except UserError as error:
            why = str(error)
        except Exception as error:  # whatever one row meets, the others do not depend on it
            traceback.print_exc()
            why = f"{type(error).__name__}: {error}".splitlines()[0]
        else:
            why = ""
    jax.clear_caches()  # programs of other rows are of no use to the next
    return why


def _run(plan: Plan, workdir: Path, row: str, seed: int, failed: Mapping[tuple[str, int], str], stop: StopWish) -> None:
    """`mumu_jax.train` of one row."""
    config, folder = plan.config(row, seed), run_folder(workdir, row, seed)
    if config.modality == "fusion":
        joined = {name: plan.sources[name] for name in config.fusion.names}
        for source in joined.values():
            if (source, seed) in failed:
                raise UserError(f"it joins {source}, which failed")
        runs = {name: run_folder(workdir, source, seed) for name, source in joined.items()}
        keep_features(config, runs, plan.data_dir, folder, stop.watch)
    check_network(config)
    train(config, plan.data_dir, folder, stop)


def _claim(workdir: Path, plan: Plan) -> None:
    """Raise UserError where `workdir` holds another table: rows of two kinds cannot be compared."""
    path = workdir / SETTINGS
    now = {"preset": plan.preset, "data_dir": str(plan.data_dir.absolute()), "image_weights": plan.image_weights}
    if not path.exists():
        write_json(path, now)
    for name, value in json.loads(path.read_text(encoding="utf-8")).items():
        if value != now[name]:
            raise UserError(
                f"{workdir} holds a table made with --{name}={value}, not {now[name]}; give the same, or another "
                "--workdir"
            )


def _write(workdir: Path, plan: Plan, failed: Mapping[tuple[str, int], str]) -> list[Row]:
    rows = measure(plan, workdir, failed)
    write_table(workdir / TABLE, rows)
    with replacing(workdir / MARKDOWN) as part:
        part.write_text(as_markdown(rows), encoding="utf-8")
    return rows


def _summary(folder: Path) -> str:
    result = read_result(folder)
    assert result is not None  # the run has ended well
    epoch = "" if result.epoch_s is None else f", {result.epoch_s:.3g} s/epoch"
    return f"album AUC {result.album['roc_auc_macro']:.3f}{epoch}"


def _log(workdir: Path, row: str, seed: int) -> Path:
    return workdir / "logs" / f"{row}_seed{seed}.log"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m mumu_jax.reproduce", description=__doc__, allow_abbrev=False)
    parser.add_argument("--data_dir", type=Path, required=True, help="what mumu_jax.prepare wrote")
    parser.add_argument("--workdir", type=Path, required=True, help="where the runs and the table go")
    parser.add_argument(
        "--rows",
        default="*",
        metavar="ROWS",
        help="experiments, with * and ?, separated by commas: 'audio_*_cosine,text_vsm' (default: all)",
    )
    parser.add_argument("--seeds", type=positive, default=5, help="runs a row, from seed 0 on (default: %(default)s)")
    parser.add_argument(
        "--preset", choices=PRESETS, default="paper", help="smoke: smaller networks and fewer epochs, for small data"
    )
    parser.add_argument(
        "--image_weights",
        default="",
        metavar="FILE",
        help="what ResNet-101 starts from (scripts/convert_weights.py); random weights by default",
    )
    return parser


if __name__ == "__main__":
    run_command(main)
