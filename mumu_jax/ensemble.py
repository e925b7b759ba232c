"""`python -m mumu_jax.ensemble`: join trained runs of the same data by the mean of their scores, and evaluate."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from mumu_jax.errors import UserError
from mumu_jax.evaluate import print_ensemble
from mumu_jax.runs.ensemble import foreign_files, make_ensemble
from mumu_jax.system.cache import keep_compiled_programs
from mumu_jax.system.files import only_one
from mumu_jax.system.lines import print_line
from mumu_jax.system.signals import EXIT_INTERRUPTED, Interrupted, stop_on_signal
from mumu_jax.system.terminal import run_command


def main(argv: Sequence[str]) -> int:
    """Join the runs, print the table of the ensemble and of each run, and write the folder."""
    arguments = _parser().parse_args(argv)
    workdir = arguments.workdir
    if len({path.resolve() for path in arguments.runs}) < max(2, len(arguments.runs)):
        raise UserError("--runs needs two different runs or more, as in --runs runs/audio runs/boosted")
    if workdir.exists() and not workdir.is_dir():
        raise UserError(f"--workdir={workdir} is a file; give a folder")
    if foreign := foreign_files(workdir):
        raise UserError(f"--workdir={workdir} holds {foreign[0]}, which is not an ensemble's; give another folder")
    keep_compiled_programs()
    with only_one(workdir, "joining runs"), stop_on_signal() as stop:
        try:
            result = make_ensemble(arguments.runs, workdir, arguments.weighted, arguments.data_dir, stop.watch)
        except Interrupted as interrupted:
            print_line(f"{interrupted}: nothing was written")
            return EXIT_INTERRUPTED
    print_ensemble(result)
    print_line(f"ensemble: {workdir}; python -m mumu_jax.tag --workdir={workdir} tags with it")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m mumu_jax.ensemble", description=__doc__, allow_abbrev=False)
    parser.add_argument("--runs", type=Path, nargs="+", required=True, metavar="RUN", help="folders of finished runs")
    parser.add_argument("--workdir", type=Path, required=True, help="the ensemble's folder")
    parser.add_argument(
        "--weighted",
        action="store_true",
        help="weights by least squares on the validation split, none negative; by default all runs count alike",
    )
    parser.add_argument("--data_dir", type=Path, help="the runs' prepared data, if it has moved")
    return parser


if __name__ == "__main__":
    run_command(main)
