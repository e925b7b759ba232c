"""`python -m mumu_jax.export`: a finished run as a folder that tags without it, and without Flax.

Programs (StableHLO), weights, settings and a model card; `exported` says which file is what.
"""

import argparse
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mumu_jax.errors import UserError
from mumu_jax.runs.exported import ABOUT, files_in, read_about, write_export
from mumu_jax.runs.folder import load_run
from mumu_jax.system.disk import naming
from mumu_jax.system.lines import print_line
from mumu_jax.system.terminal import run_command


def main(argv: Sequence[str]) -> None:
    """Export the run that the command line names."""
    arguments = _parser().parse_args(argv)
    run, out = load_run(arguments.workdir), arguments.out.resolve()
    _check_free(out, run.names)
    with _replacing_folder(out) as temporary:
        write_export(run, arguments.workdir, temporary)
    size = sum((out / path).stat().st_size for path in files_in(out))
    print_line(f"written: {out}, {size / 1e6:.3g} MB; python -m mumu_jax.tag --model={out} tags with it")


def _check_free(out: Path, names: Collection[str]) -> None:
    """Raise UserError unless `out` is missing, empty, or an export of the run with one of `names` and nothing else."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / ABOUT).is_file():
        raise UserError(f"{out} is there and is not an export; give another --out")
    about = read_about(out)
    if about.run not in names:
        raise UserError(f"{out} holds the export of another run ({about.run}); give another --out, or remove it")
    if others := sorted(set(files_in(out)) - set(about.files)):
        raise UserError(
            f"{out / others[0]} is not a part of the export and would be lost; move it, or give another --out"
        )


@contextmanager
def _replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder.  On success it replaces `folder`; on error it is deleted.

    A kill leaves `folder` as it was, or, between two renames, missing: never half of it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary, old = folder.with_name(f".{folder.name}.part"), folder.with_name(f".{folder.name}.old")
    for leftover in (temporary, old):  # of a call that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        with naming(folder):
            yield temporary
            if folder.exists():
                folder.rename(old)
            temporary.rename(folder)
    finally:
        if old.exists() and not folder.exists():
            old.rename(folder)
        for rest in (temporary, old):
            shutil.rmtree(rest, ignore_errors=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m mumu_jax.export", description=__doc__, allow_abbrev=False)
    parser.add_argument("--workdir", type=Path, required=True, help="the folder of a finished run")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to write")
    return parser


if __name__ == "__main__":
    run_command(main)
