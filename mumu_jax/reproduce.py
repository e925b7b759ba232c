"""`python -m mumu_jax.reproduce`: the paper's Table 2, every row that the data allows, trained and beside the paper's.

What is finished is not done again.  A row that fails is told at the end, and the same command tries it once more.
"""

import argparse
import json
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import jax

from mumu_jax.errors import UserError
from mumu_jax.experiments import load_config
from mumu_jax.reports.page import make_page
from mumu_jax.reports.plan import Plan, make_plan
from mumu_jax.reports.presets import PRESETS
from mumu_jax.reports.table2 import MARKDOWN, SETTINGS, TABLE, TIMES, Row, measure, read_result, run_folder, write_table
from mumu_jax.reports.table2_text import as_markdown, print_rows
from mumu_jax.runs.extract import keep_features
from mumu_jax.system.cache import keep_compiled_programs
from mumu_jax.system.files import only_one, replacing, write_json
from mumu_jax.system.signals import EXIT_INTERRUPTED, Interrupted, StopRequest, stop_on_signal
from mumu_jax.system.terminal import positive, progress_bar, run_command
from mumu_jax.train import train
from mumu_jax.training.flags import check_network
from mumu_jax.training.log import read_lines
from mumu_jax.training.weights import load_for

REPORT = "report.html"


def main(argv: Sequence[str]) -> int:
    """Train what is not trained yet, and show the table; 1 if a row failed."""
    arguments = _parser().parse_args(argv)
    keep_compiled_programs()
    plan = make_plan(arguments.data_dir, arguments.rows, arguments.preset, arguments.seeds, arguments.image_weights)
    workdir = arguments.workdir
    with only_one(workdir, "reproducing the table in"), stop_on_signal() as stop:
        _claim(workdir, plan)
        print(plan, flush=True)
        try:
            failed = reproduce(plan, workdir, stop)
        except Interrupted as interrupted:
            print(f"{interrupted}; the same command goes on from here", file=sys.stderr)
            return EXIT_INTERRUPTED
        rows = _write(workdir, plan)
    with replacing(workdir / REPORT) as part:
        part.write_text(make_page(workdir, None), encoding="utf-8", errors="backslashreplace")
    print_rows(rows)
    times = [(line["row"], line["seed"], line["seconds"]) for line in read_lines(workdir / TIMES)]
    print(f"{len({time[:2] for time in times})} runs took {sum(time[2] for time in times) / 60:.1f} min")
    for row, seed in failed:
        log, folder = _log(workdir, row, seed), run_folder(workdir, row, seed)
        print(f"failed: {row}, seed {seed}: see {log}; to do it all over, remove {folder}", file=sys.stderr)
    print(f"written: {', '.join(str(workdir / name) for name in (TABLE, MARKDOWN, REPORT))}")
    return 1 if failed else 0


def reproduce(plan: Plan, workdir: Path, stop: StopRequest) -> list[tuple[str, int]]:
    """Do all runs of the plan that are not finished, keeping the table up to date: those that failed."""
    todo = [run for run in plan.runs if read_result(run_folder(workdir, *run)) is None]
    failed, n_runs = [], len(plan.runs)
    n_before = n_runs - len(todo)
    if n_before:
        print(f"{n_before} of {n_runs} runs are finished already")
    with progress_bar(n_runs, "Table 2", n_before) as bar:
        for n_done, (row, seed) in enumerate(stop.watch(todo), n_before + 1):
            bar.advance(0, f"{row}, seed {seed}")
            seconds, why = _try(plan, workdir, row, seed, stop)
            said = f"failed: {why}" if why else _summary(run_folder(workdir, row, seed))
            if why:
                failed.append((row, seed))
            bar.advance()
            _write(workdir, plan)
            with bar.paused():
                print(f"{n_done:3}/{n_runs}  {row}, seed {seed}: {said}, {seconds:.0f} s", flush=True)
    return failed


def _try(plan: Plan, workdir: Path, row: str, seed: int, stop: StopRequest) -> tuple[float, str]:
    """Train and evaluate one run: (seconds, why it failed, if it did), which TIMES keeps.  Its log has what it says."""
    log, start, why = _log(workdir, row, seed), time.monotonic(), "interrupted"
    log.parent.mkdir(exist_ok=True)
    try:
        with log.open("a", encoding="utf-8") as file, redirect_stdout(file), redirect_stderr(file):
            why = _run(plan, workdir, row, seed, stop)
    finally:
        seconds = time.monotonic() - start
        line = json.dumps({"row": row, "seed": seed, "seconds": seconds, "failed": why})
        with (workdir / TIMES).open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
    jax.clear_caches()  # programs of other rows are of no use to the next
    return seconds, why


def _run(plan: Plan, workdir: Path, row: str, seed: int, stop: StopRequest) -> str:
    """Why the run failed; nothing where it did not."""
    try:
        _train(plan, workdir, row, seed, stop)
    except Interrupted:
        raise
    except UserError as error:
        return str(error)
    except Exception as error:  # whatever one row meets, the others do not depend on it
        traceback.print_exc()
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return ""


def _train(plan: Plan, workdir: Path, row: str, seed: int, stop: StopRequest) -> None:
    """`mumu_jax.train` of one row, of a fusion on the runs of its seed."""
    config, folder = plan.config(row, seed), run_folder(workdir, row, seed)
    if config.modality == "fusion":
        runs = {name: run_folder(workdir, plan.sources[name], seed) for name in config.fusion.names}
        for run in runs.values():
            if read_result(run) is None:
                raise UserError(f"it joins {run}, which failed; mend that one first")
        keep_features(config, runs, plan.data_dir, folder, stop.watch)
    check_network(config)
    train(config, plan.data_dir, folder, stop)
    if read_result(folder) is None:
        raise UserError(
            "there is no result of the data's own test albums: a fusion's lack a modality, or it was last evaluated on "
            f"other data, and python -m mumu_jax.evaluate --workdir={folder} mends that"
        )


def _claim(workdir: Path, plan: Plan) -> None:
    """Raise UserError where `workdir` holds another table: rows of two kinds cannot be compared."""
    if (workdir / "config.json").exists():
        raise UserError(f"{workdir} is the folder of a single run; give another --workdir")
    path, images = workdir / SETTINGS, [row for row, _ in plan.runs if load_config(row).modality == "image"]
    now = {"preset": plan.preset, "data": plan.checksums}
    if images:  # of other rows it does not matter
        named = plan.config(images[0], 0).model
        now["image_weights"] = load_for(named).about["sha256"] if named.weights else ""
    described = {"data_dir": str(plan.data_dir.absolute()), "about_data": plan.data}
    before = {**now, **json.loads(path.read_text(encoding="utf-8"))} if path.exists() else now
    for name in now.keys() - {"data"}:
        if before[name] != now[name]:
            raise UserError(
                f"{workdir} holds a table made with --{name}={before[name] or 'nothing'}, not {now[name] or 'nothing'};"
                " give the same, or another --workdir"
            )
    for name, checksum in plan.checksums.items():
        if before["data"].get(name, checksum) != checksum:
            raise UserError(
                f"{workdir} holds a table of other data: the {name} of {plan.data_dir} has changed; give another "
                "--workdir"
            )
    write_json(path, {**before, **described, "data": {**before["data"], **plan.checksums}})


def _write(workdir: Path, plan: Plan) -> list[Row]:
    rows = measure(plan, workdir)
    write_table(workdir / TABLE, rows)
    with replacing(workdir / MARKDOWN) as part:
        part.write_text(f"On {plan.data}.\n\n{as_markdown(rows)}", encoding="utf-8", errors="backslashreplace")
    return rows


def _summary(folder: Path) -> str:
    result = read_result(folder)
    assert result is not None  # or `_train` would have raised
    auc, epoch = result.album["roc_auc_macro"], result.epoch_s
    said = "no album AUC" if auc is None else f"album AUC {auc:.3f}"
    return said if epoch is None else f"{said}, {epoch:.3g} s/epoch"


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
