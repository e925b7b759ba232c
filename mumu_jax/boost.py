"""`python -m mumu_jax.boost`: train boosted trees on prepared numbers of tracks, or on the vectors of a trained run.

It is `mumu_jax.train` with an experiment that the data choose: one forest for all genres if each album has one genre,
else one for each genre.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from mumu_jax.data.manifest import read_manifest
from mumu_jax.data.modalities.vectors import FEATURE_WIDTHS
from mumu_jax.errors import UserError
from mumu_jax.runs.folder import read_data_dir
from mumu_jax.runs.fusion import read_origin, run_of
from mumu_jax.system.lines import print_line, print_lines
from mumu_jax.system.terminal import run_command
from mumu_jax.train import main as train

NUMBERS = ("descriptors", "timbre")  # modalities of a vector a track, the better one first
HELP = """\
python -m mumu_jax.boost --data_dir=DATA [--workdir=RUN] [--config.FIELD=VALUE …]
python -m mumu_jax.boost --runs=NAME=RUN|--features=FILE.npz [--data_dir=DATA] [--workdir=RUN] [--config.FIELD=VALUE …]

Trains gradient-boosted trees (XGBoost; the extra `boost`) and evaluates.  The same command resumes a stopped run.

  --data_dir=DATA   what mumu_jax.prepare wrote; $MUMU_DATA_DIR by default.  Its descriptors are what the trees see,
                    else its timbre
  --runs=NAME=RUN   the vectors of a trained run instead, of the modality NAME
  --features=FILE.npz   likewise, as `python -m mumu_jax.evaluate --workdir=RUN --features=FILE.npz` wrote them
  --workdir=RUN     the run's folder; runs/EXPERIMENT by default
  --config=NAME     an experiment by name, instead of the choice by the data (python -m mumu_jax.train --list)

fields, beside those that `python -m mumu_jax.train --help` names:
  --config.model.rounds=500, --config.model.tree_depth=5, --config.model.subsample=0.8
  --config.optim.learning_rate=0.1, --config.optim.patience=20 (rounds without a gain on validation)

exit status: 0 done, 2 wrong input, 75 saved after SIGTERM or Ctrl-C: the same command goes on"""


def main(argv: Sequence[str]) -> int:
    """Choose the experiment, unless it is named, and train it."""
    if {"--help", "-h"} & {*argv}:
        print_lines(HELP)
        raise SystemExit(0)
    argv = [_as_runs(argument) for argument in argv]
    if any(argument.startswith("--config=") for argument in argv):
        return train(argv)
    named = [name for name, _, _ in (argument.partition("=") for argument in argv)]
    if named.count("--runs") > 1:
        raise UserError("--features and --runs both name what the trees see; give one of them")
    values = {name: value for name, _, value in (argument.partition("=") for argument in argv)}
    chosen = _choose(values.get("--data_dir") or os.environ.get("MUMU_DATA_DIR"), values.get("--runs"))
    print_line(f"boosting: {' '.join(chosen)}")
    return train([*chosen, *argv])


def _as_runs(argument: str) -> str:
    """Return `--runs=NAME=FILE` for `--features=FILE`, and other arguments as they are."""
    name, _, value = argument.partition("=")
    return f"--runs={read_origin(Path(value)).modality}={value}" if name == "--features" else argument


def _choose(data_dir: str | None, runs: str | None) -> list[str]:
    """Return the flags that name the experiment.  Raises UserError if there is nothing to see."""
    if runs is not None:
        name, _, path = runs.partition("=")
        if not name or not path or re.search(r",\w+=", path):
            raise UserError(f"--runs is {runs!r}; give one run with its modality, such as --runs=audio=RUN")
        if name not in FEATURE_WIDTHS:
            known = ", ".join(FEATURE_WIDTHS)
            raise UserError(f"{path} is of a run of {name}, and trees see the vectors of a run of one of {known}")
        folder = Path(data_dir) if data_dir else read_data_dir(run_of(Path(path)))
        return [f"--config=fusion_boosted_{_target(folder)}", f"--config.fusion.modalities={name}"]
    if not data_dir:
        raise UserError(
            "no data named; add --data_dir=DATA (what mumu_jax.prepare wrote), --runs=NAME=RUN or --features=FILE.npz"
        )
    folder = Path(data_dir)
    prepared = [name for name in NUMBERS if (folder / name).is_dir()]
    if not prepared:
        raise UserError(
            f"{folder} has neither {' nor '.join(NUMBERS)}, which trees see; prepare it with --modalities=descriptors, "
            "or give a trained run: --runs=NAME=RUN"
        )
    return [f"--config={prepared[0]}_boosted_{_target(folder)}"]


def _target(folder: Path) -> str:
    """Return `softmax` if each album has one genre, else `logistic`."""
    albums = read_manifest(folder / "manifest.jsonl")
    return "softmax" if all(len(album.genres) == 1 for album in albums) else "logistic"


if __name__ == "__main__":
    run_command(main)
