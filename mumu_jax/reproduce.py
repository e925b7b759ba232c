"""`python -m mumu_jax.reproduce`: make every row of a published table that the data allows, and show both tables.

Each run is a process of its own, `python -m mumu_jax.train` or another command.  What is finished is not done again; a
row that fails, or whose process is killed, is told at the end, and the same command tries it again.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import jax

from mumu_jax.errors import UserError
from mumu_jax.reports.page import write_page
from mumu_jax.reports.tables import TABLES
from mumu_jax.reports.tables.base import Plan
from mumu_jax.reports.tables.output import as_markdown, print_rows, write_table
from mumu_jax.reports.tables.plan import make_plan
from mumu_jax.reports.tables.results import SETTINGS, TIMES, read_failures, read_result, run_folder
from mumu_jax.reports.tables.table2 import TABLE2
from mumu_jax.system.files import only_one, replacing, write_json
from mumu_jax.system.lines import print_line, print_lines, print_remark
from mumu_jax.system.signals import EXIT_INTERRUPTED, Interrupted, StopRequest, stop_on_signal
from mumu_jax.system.terminal import positive, progress_bar, run_command
from mumu_jax.training.log import read_lines
from mumu_jax.training.weights import load_for

REPORT = "report.html"
COMMANDS = {
    module.rpartition(".")[2]: (sys.executable, "-m", f"mumu_jax.{module}")
    for module in ("train", "ensemble", "evaluate", "runs.estimators")
}
# Runs share their small compiled programs, too; what a killed one printed is in its log.
ENVIRONMENT = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "PYTHONUNBUFFERED": "1"}
INTERRUPTED = "interrupted"
POLL_S = 0.2  # between two looks at a row's process
TRACEBACK = "Traceback (most recent call last):\n"


def main(argv: Sequence[str]) -> int:
    """Train what is not trained yet, and show the table; return 1 if a row failed."""
    arguments = _parser().parse_args(argv)
    jax.config.update("jax_platforms", "cpu")  # the accelerator is for the runs' processes
    table, workdir = TABLES[arguments.table].with_weights(arguments.weights), arguments.workdir
    seeds = arguments.seeds or table.seeds
    plan = make_plan(table, arguments.data_dir, arguments.rows, arguments.preset, seeds, arguments.image_weights)
    # No wait: the row must get the signal while it still takes it for a repetition of its own.
    with only_one(workdir, "reproducing the table in") as lock, stop_on_signal(repeat_s=0.0) as stop:
        os.set_inheritable(lock.fileno(), True)  # if this process is killed, the row's still holds it
        _claim(workdir, plan)
        print_lines(str(plan))
        try:
            failures = reproduce(plan, workdir, stop)
        except Interrupted as interrupted:
            print_remark(f"{interrupted}; the same command goes on from here")
            return EXIT_INTERRUPTED
        rows = _write(workdir, plan)
    write_page(workdir / REPORT, workdir)
    print_rows(table, rows)
    times = [(line["row"], line["seed"], line["seconds"]) for line in read_lines(workdir / TIMES)]
    n_timed = len({time[:2] for time in times})
    print_line(f"{n_timed} run{'s' * (n_timed != 1)} took {sum(time[2] for time in times) / 60:.1f} min")
    for (row, seed), why in failures.items():
        log, folder = _log(workdir, row, seed), run_folder(workdir, row, seed)
        print_remark(f"failed: {row}, seed {seed}: {why} (see {log}; to start it over, remove {folder})")
    print_line(f"written: {', '.join(str(workdir / name) for name in (table.csv, table.markdown, REPORT))}")
    return 1 if failures else 0


def reproduce(plan: Plan, workdir: Path, stop: StopRequest) -> dict[tuple[str, int], str]:
    """Do all runs of the plan that are not finished, keeping the table up to date; return why some failed."""
    todo = [run for run in plan.runs if read_result(run_folder(workdir, *run)) is None]
    n_runs = len(plan.runs)
    n_before = n_runs - len(todo)
    if n_before:
        print_line(f"{n_before} of {n_runs} runs are finished already")
    with progress_bar(n_runs, plan.table.title, n_before) as bar:
        for n_done, (row, seed) in enumerate(stop.watch(todo), n_before + 1):
            bar.advance(0, f"{row}, seed {seed}")
            start = time.monotonic()
            failure = make_run(plan, workdir, row, seed, stop)
            line = {"row": row, "seed": seed, "seconds": time.monotonic() - start, "failed": failure}
            with (workdir / TIMES).open("a", encoding="utf-8") as file:
                file.write(f"{json.dumps(line)}\n")
            if failure == INTERRUPTED:
                raise Interrupted(str(stop))
            bar.advance()
            _write(workdir, plan)
            outcome = f"failed: {failure}" if failure else _summary(run_folder(workdir, row, seed))
            print_line(f"{n_done:3}/{n_runs}  {row}, seed {seed}: {outcome}, {line['seconds']:.0f} s")
    return {run: why for run, why in read_failures(workdir).items() if run in todo}


def make_run(plan: Plan, workdir: Path, row: str, seed: int, stop: StopRequest) -> str:
    """Make one row's run in a process of its own; return why it failed, or nothing."""
    folder, job = run_folder(workdir, row, seed), plan.jobs[row]
    for other in job.joins.values():
        if read_result(run := run_folder(workdir, other, seed)) is None:
            return f"it joins {run}, which failed; fix that one first"
    command = [*COMMANDS[job.command], *plan.arguments(row, seed, workdir)]
    status, output = run_logged(command, _log(workdir, row, seed), stop)
    if status and stop:
        return INTERRUPTED
    if status:
        return explain(status, output)
    if read_result(folder) is None:
        return (
            "there is no result of the data's own test albums: a fusion's lack a modality, or it was last evaluated on "
            f"other data, which python -m mumu_jax.evaluate --workdir={folder} fixes"
        )
    return ""


def run_logged(command: Sequence[str], log: Path, stop: StopRequest) -> tuple[int, str]:
    """Run a command that adds its output to `log`, handing a stop request on; return its exit status and output."""
    log.parent.mkdir(exist_ok=True)
    with log.open("a+b") as file:
        start = file.tell()
        streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": file, "stderr": file}
        with subprocess.Popen(command, **streams, env={**ENVIRONMENT, **os.environ}, close_fds=False) as process:
            while process.poll() is None and not stop:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(POLL_S)
            process.terminate()  # nothing if it has ended
        file.seek(start)
        return process.returncode, file.read().decode(errors="replace")


def explain(status: int, output: str) -> str:
    """Return in one line why a process failed: its signal, its error message or its exception."""
    if status < 0:
        name = signal.Signals(-status).name
        return f"its process was killed by {name}" + (", as for lack of memory" if name == "SIGKILL" else "")
    _, traceback, tail = output.rpartition(TRACEBACK)
    lines = [line for line in tail.splitlines() if line.strip() and not line.startswith(" ")]
    message = lines[0 if traceback else -1] if lines else f"exit status {status}"
    return message.removeprefix("error: ")


def _claim(workdir: Path, plan: Plan) -> None:
    """Raise UserError if `workdir` holds another table: its rows could not be compared."""
    if (workdir / "config.json").exists():
        raise UserError(f"{workdir} is the folder of a single run; give another --workdir")
    if plan.image_weights and not any(row.startswith("image") for row in plan.rows):
        raise UserError(f"--image_weights={plan.image_weights} is for rows of images, of which there are none here")
    path = workdir / SETTINGS
    options = {"preset": plan.preset}
    models = [plan.config(row, seed).model for row, seed in plan.runs if row.startswith("image")]
    if models:  # other rows do not depend on it
        options["image_weights"] = load_for(models[0]).about["sha256"] if plan.image_weights else ""
    before = {"preset": plan.preset, "weights": {}, "data": {}}
    if path.exists():
        before |= json.loads(path.read_text(encoding="utf-8"))
    if before.get("table", TABLE2.name) != plan.table.name and path.exists():
        raise UserError(
            f"{workdir} holds the runs of --table={before.get('table', TABLE2.name)}; give another --workdir"
        )
    for name, value in options.items():
        if before.get(name, value) != value:
            raise UserError(
                f"{workdir} holds a table made with --{name}={before[name] or 'nothing'}, not {value or 'nothing'};"
                " give the same, or another --workdir"
            )
    if before.get("albums", plan.albums) != plan.albums:
        raise UserError(f"{workdir} holds a table of other albums than {plan.data_dir} has; give another --workdir")
    weights = {row: sha256 for row, _ in plan.runs if (sha256 := plan.jobs[row].weights)}
    for row, sha256 in weights.items():
        if before["weights"].get(row, sha256) != sha256:
            raise UserError(f"{workdir} holds {row} of another file of --weights; give that, or another --workdir")
    for name, checksum in plan.checksums.items():
        if before["data"].get(name, checksum) != checksum:
            raise UserError(
                f"{workdir} holds a table of other data: the {name} of {plan.data_dir} has changed; give another "
                "--workdir"
            )
    data = {"table": plan.table.name, "data_dir": str(plan.data_dir.absolute()), "about_data": plan.data}
    about = {**before, **options, **data, "albums": plan.albums, "weights": {**before["weights"], **weights}}
    write_json(path, {**about, "data": {**before["data"], **plan.checksums}})


def _write(workdir: Path, plan: Plan) -> list[Any]:
    rows = plan.table.measure(plan, workdir)
    write_table(plan.table, workdir / plan.table.csv, rows)
    with replacing(workdir / plan.table.markdown) as part:
        text = f"On {plan.data}.\n\n{as_markdown(plan.table, rows)}"
        part.write_text(text, encoding="utf-8", errors="backslashreplace")
    return rows


def _summary(folder: Path) -> str:
    result = read_result(folder)
    assert result is not None  # else the row failed
    auc, accuracy = result.album["roc_auc_macro"], result.album.get("accuracy_at_1")
    text = "no album AUC" if auc is None else f"album AUC {auc:.3f}"
    text = text if accuracy is None else f"top-1 accuracy {accuracy:.3f}"
    return text if result.epoch_s is None else f"{text}, {result.epoch_s:.3g} s/epoch"


def _log(workdir: Path, row: str, seed: int) -> Path:
    return workdir / "logs" / f"{row}_seed{seed}.log"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m mumu_jax.reproduce", description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--table",
        choices=TABLES,
        default="table2",
        help=f"{'; '.join(f'{name}: {table.about}' for name, table in TABLES.items())} (default: %(default)s)",
    )
    parser.add_argument("--data_dir", type=Path, required=True, help="the prepared data")
    parser.add_argument("--workdir", type=Path, required=True, help="the folder for the runs and the table")
    parser.add_argument(
        "--rows",
        default="*",
        metavar="ROWS",
        help="rows by name, with * and ?, separated by commas: 'audio_*_cosine,text_vsm' (default: all)",
    )
    n_seeds = ", ".join(f"{table.seeds} of {name}" for name, table in TABLES.items())
    parser.add_argument("--seeds", type=positive, help=f"runs a row, from seed 0 on (default: {n_seeds})")
    parser.add_argument(
        "--preset",
        choices=TABLE2.presets,
        default="paper",
        help="smoke: smaller networks and fewer epochs, for small data",
    )
    parser.add_argument(
        "--image_weights",
        default="",
        metavar="FILE",
        help="first weights of ResNet-101 (scripts/convert_weights.py); random ones by default",
    )
    parser.add_argument(
        "--weights",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="published networks (scripts/convert_weights.py) to score beside those that are trained, with won2020",
    )
    return parser


if __name__ == "__main__":
    run_command(main)
