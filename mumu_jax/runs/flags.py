"""The command line of `train`: a named experiment, any of its fields, and the list of them."""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from mumu_jax.config import Config
from mumu_jax.data.modalities.inputs import Inputs
from mumu_jax.errors import UserError, nearest
from mumu_jax.experiments import load_config, load_experiments, read_parameter_counts
from mumu_jax.fields import flatten, validate
from mumu_jax.runs.field_help import list_fields
from mumu_jax.runs.settings import check_settings, count_params, has_album_network
from mumu_jax.system.lines import print_lines
from mumu_jax.system.terminal import print_table

HELP = """\
python -m mumu_jax.train --config=NAME [--data_dir=DATA] [--workdir=RUN]
                         [--config.FIELD=VALUE …]

Trains a named experiment, of tracks also their album network, and evaluates.
The same command resumes a stopped run.

  --config=NAME     the experiment
  --list            show every experiment and end
  --data_dir=DATA   what mumu_jax.prepare wrote; $MUMU_DATA_DIR by default, else
                    the built-in mini dataset
  --workdir=RUN     the run's folder; runs/NAME by default
  --runs=audio=RUN,text=RUN,image=RUN
                    the trained runs that a fusion joins; it keeps their vectors
                    (once --features).  In place of a RUN, FILE.npz, as of
                    python -m mumu_jax.evaluate --workdir=RUN --features=FILE

several processes (each on its own devices, all with the same files): found by
themselves under SLURM and Open MPI, else
  --coordinator=auto
                    on each host of a TPU slice, or of another cluster that JAX
                    knows
  --coordinator=HOST:PORT --num_processes=N --process_id=I
                    the address of process 0, how many there are, which this is

{title}, with what they mean and [what they may be];
sections by number are those of Oramas et al. 2017:
{fields}

exit status: 0 done, 2 wrong input,
             75 saved after SIGTERM or Ctrl-C: the same command goes on"""


@dataclasses.dataclass
class Flags:
    """The command line as parsed."""

    config: Config
    runs: dict[str, Path] | None  # of a fusion: those that it joins, by modality
    data_dir: str | None
    workdir: str | None
    list: bool
    note: str  # of settings that the user may believe to apply to both networks
    coordinator: str | None
    num_processes: int | None
    process_id: int | None


def parse_flags(argv: Sequence[str]) -> Flags:
    """Parse the command line of `train`.  Raises UserError on flags, fields, values and names that do not exist."""
    values = flags.FlagValues()
    argv = sorted(argv, key=lambda argument: not argument.startswith("--config="))  # the name before its overrides
    _check_field_names(argv)
    flags.DEFINE_boolean("list", False, HELP, flag_values=values)
    flags.DEFINE_boolean("help", False, HELP, short_name="h", flag_values=values)
    for name in ("data_dir", "workdir", "runs", "features", "coordinator"):
        flags.DEFINE_string(name, None, HELP, flag_values=values)
    for name in ("num_processes", "process_id"):
        flags.DEFINE_integer(name, None, HELP, flag_values=values)
    try:
        config_flags.DEFINE_config_dataclass(
            "config",
            Config(),
            HELP,
            flag_values=values,
            sys_argv=["train", *argv],
            parse_fn=load_config,
        )
        extra = values(["train", *argv])[1:]
    except (flags.Error, TypeError, ValueError) as error:
        raise UserError(f"{' '.join(str(error).split())} (python -m mumu_jax.train --help)") from error
    if values.help:
        name = values.config.name
        title = f"fields of {name}" if name else "fields and defaults (of an experiment: --config=NAME --help)"
        print_lines(HELP.format(title=title, fields=list_fields(values.config)))
        raise SystemExit(0)
    if extra:
        raise UserError(f"unexpected argument {extra[0]!r}; every argument has the form --name=value")
    config: Config = values.config
    if not (config.name or values.list):
        raise UserError("no experiment named; add --config=NAME (python -m mumu_jax.train --list)")
    validate(config)
    if config.name:
        check_settings(config)
    processes = (values.coordinator, values.num_processes, values.process_id)
    named = values.features if values.runs is None else values.runs
    runs = None if named is None else _parse_runs(named, config)
    return Flags(config, runs, values.data_dir, values.workdir, values.list, _note_of_optim(argv, config), *processes)


def _note_of_optim(argv: Sequence[str], config: Config) -> str:
    """Name the settings of `optim` on the command line that the album network, the second one of tracks, has not."""
    if not (config.name and has_album_network(config)):
        return ""
    given = {argument.partition("=")[0].removeprefix("--config.") for argument in argv}
    both = {name: (getattr(config.optim, name), getattr(config.album_optim, name)) for name in flatten(config.optim)}
    apart = {
        name: values
        for name, values in both.items()
        if f"optim.{name}" in given and f"album_optim.{name}" not in given and values[0] != values[1]
    }
    if not apart:
        return ""
    kept = ", ".join(f"{name}={of_albums!r}" for name, (_, of_albums) in apart.items())
    wanted = " ".join(f"--config.album_optim.{name}={of_tracks}" for name, (of_tracks, _) in apart.items())
    return f"config.optim is the track network's; the album network has {kept} ({wanted} changes that)"


def _parse_runs(text: str, config: Config) -> dict[str, Path]:
    """Parse `audio=RUN,text=RUN` into the fusion's order.  Raises UserError unless it names a run of each modality."""
    if Inputs.unfitted(config).prepared:
        raise UserError(f"--runs is for a fusion, and {config.name} sees {config.modality}; leave it out")
    names = config.fusion.names
    parts = re.split(rf",(?=(?:{'|'.join(names)})=)", text)  # a folder's name may hold a comma
    pairs = [part.partition("=") for part in parts]
    if sorted(name for name, _, _ in pairs) != sorted(names) or not all(path for _, _, path in pairs):
        raise UserError(
            f"--runs is {text!r}, and {config.name} joins {', '.join(names)}; give "
            f"--runs={','.join(f'{name}=RUN' for name in names)}"
        )
    found = {name: Path(path) for name, _, path in pairs}
    return {name: found[name] for name in names}


def print_experiments() -> None:
    """Print every experiment with its parameter count and the paper's results, as a table."""
    rows, counts = [], read_parameter_counts()
    for name, experiment in load_experiments().items():
        paper = experiment.paper
        printed = [""] * 6
        if paper:
            coverage = (f"{share:.2f}" for share in paper.coverage)
            printed = [paper.params, f"{paper.epoch_s:g}", f"{paper.roc_auc:.3f}", *coverage]
        accuracy = "/".join(f"{share:.2%}"[:-1] for share in experiment.study.accuracy) if experiment.study else ""
        count = counts[name] if name in counts else count_params(experiment.config)  # of a user's own experiment
        rows.append((name, f"{count:,}", *printed, accuracy))
    print_table(
        "Experiments; parameters for MuMu's 250 labels; Table 2 of Oramas et al. 2017, and top-1, 3 and 5 accuracy of "
        "the album-cover study",
        ("--config=", "params", "paper's params", "s/epoch", "AUC", "C@1", "C@3", "C@5", "top-1/3/5 in %"),
        rows,
        width=120,
        caption="text_vsm's C@1 is as printed there, though no C@1 can be above a C@3",
    )


def _check_field_names(argv: Sequence[str]) -> None:
    fields = flatten(Config())
    of_last_part = {name.rpartition(".")[2]: name for name in reversed(fields) if "." in name}
    for argument in argv:
        option = argument.partition("=")[0].removeprefix("--")
        if option in of_last_part:
            raise UserError(f"train has no option --{option}; did you mean --config.{of_last_part[option]}?")
        if argument.startswith("--config."):
            name = option.removeprefix("config.")
            if name not in fields:
                near = nearest(name, fields, likeness=0.8)
                section = [f for f in fields if f.split(".")[0] == name.split(".")[0]] or list(fields)
                hint = f"did you mean config.{near}?" if near else f"known are {', '.join(section)}"
                raise UserError(f"the config has no field {name!r}; {hint}")
