"""The interface of a published table that is measured again, its jobs, and the plan of their runs."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, reduce
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from mumu_jax.config import Config
from mumu_jax.errors import UserError
from mumu_jax.experiments import load_config
from mumu_jax.reports.tables.results import run_folder

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Job:
    """A run: the command that makes it, what it sees, and the other jobs whose runs it joins.

    `command` is one of `reproduce.COMMANDS`, and `flags` are its own; `config` is that of an experiment.  `sees` has
    the settings of prepared data by modality.  `joins` has the other jobs by the names that the command gives their
    runs.
    `impossible` says why the data rules it out, if `sees` does not say it.  A job of published `weights` (their
    SHA-256) trains nothing: it has one run, whatever the number of seeds.
    """

    command: str
    sees: Mapping[str, Any]
    config: Config | None = None
    flags: tuple[str, ...] = ()
    joins: Mapping[str, str] = field(default_factory=dict)
    impossible: str = ""
    weights: str = ""


class Point(NamedTuple):
    """A row's main metric as a chart shows it: ours with its deviation over the seeds, and the printed one."""

    name: str
    ours: float | None
    sd: float | None
    printed: float | None


class Table(ABC):
    """A published table, whose jobs `mumu_jax.reproduce` runs; `Row`s are the lines that are shown.

    `presets` fit it to a small machine and small data: changed settings, by the start of a job's name.
    """

    name: ClassVar[str]  # of --table, and of the files
    title: ClassVar[str]  # in two words
    about: ClassVar[str]  # in one line, for help
    caption: ClassVar[str]
    source: ClassVar[str]  # what printed the numbers, in words
    axis: ClassVar[str]  # the name of the main metric
    chance: ClassVar[float | None] = None  # its value for random scores, if that is the same for all data
    presets: ClassVar[Mapping[str, Mapping[str, Settings]]]
    columns: ClassVar[Sequence[tuple[str, Callable[[Any], str]]]]  # titles, and functions of a row
    n_names: ClassVar[int]  # columns of words, before those of numbers
    width: ClassVar[int] = 150  # of the terminal's table
    single_label: ClassVar[bool] = False  # whether each album of the data must have one genre
    seeds: ClassVar[int] = 5  # runs a job, by default

    @property
    def csv(self) -> str:
        """The name of the table's file."""
        return f"{self.name}.csv"

    @property
    def markdown(self) -> str:
        """The name of the table as text."""
        return f"{self.name}.md"

    def with_weights(self, files: Sequence[Path]) -> "Table":
        """Return the table with rows of published networks.  Raises UserError if it has no such rows."""
        if files:
            raise UserError(f"--weights is for tables of published networks, which {self.name} is not; leave it out")
        return self

    def data_name(self, modality: str, settings: Any) -> str:
        """Return the name under which the folder remembers the data of a modality: others must not replace it."""
        return modality

    @abstractmethod
    def jobs(self, data_dir: Path) -> dict[str, Job]:
        """Return all runs by name, those that others join before them."""

    @abstractmethod
    def measure(self, plan: "Plan", workdir: Path) -> list[Any]:
        """Return the rows of the plan, and others that the folder has runs of, with all seeds that are there."""

    @abstractmethod
    def remarks(self, rows: Sequence[Any]) -> list[str]:
        """Return lines that say what the numbers show, what was made smaller, and why a row has no result."""

    @abstractmethod
    def points(self, rows: Sequence[Any]) -> list[Point]:
        """Return the main metric of each row."""

    @abstractmethod
    def job_of(self, row: Any) -> str:
        """Return the name of the job that a row shows."""

    @abstractmethod
    def flat(self, row: Any) -> dict[str, Any]:
        """Return a row as the values of a line of the file, by column; None is an empty cell."""

    @abstractmethod
    def from_flat(self, lines: Sequence[Mapping[str, str]]) -> list[Any]:
        """Return the rows of a file's lines, without their empty cells.  Raises ValueError on anything else."""

    def changes(self, preset: str, job: str) -> Settings:
        """Return the settings of a job that a preset changes, with their new values."""
        return next((settings for start, settings in self.presets[preset].items() if job.startswith(start)), {})

    def cells(self, row: Any) -> list[str]:
        """Return one line of the table, a text for each of `columns`."""
        return [cell(row) for _, cell in self.columns]


@dataclass(frozen=True)
class Plan:
    """The runs of a table.

    `jobs` are all that the table has, and `rows` those to be run, in order; `added` are the rows that were not asked
    for, but that others join; `impossible` says why the data rules a job out; `checksums` are the data's, by
    `Table.data_name`, and `data` describes it; `image_weights` is a file or empty; `albums` is the albums' SHA-256.
    """

    table: Table
    data_dir: Path
    preset: str
    seeds: int
    image_weights: str
    jobs: Mapping[str, Job]
    rows: list[str]
    added: list[str]
    impossible: dict[str, str]
    checksums: dict[str, str]
    data: str
    albums: str = ""

    @cached_property
    def runs(self) -> list[tuple[str, int]]:
        """(job, seed) of every run: the whole table of one seed before the next."""
        rows = [row for row in self.rows if row not in self.impossible]
        return [(row, seed) for seed in range(self.seeds) for row in rows if not (seed and self.jobs[row].weights)]

    def settings(self, row: str, seed: int) -> dict[str, Any]:
        """Return the settings in which a run differs from its experiment."""
        weights = {"model.weights": self.image_weights} if self.image_weights and row.startswith("image") else {}
        return {"seed": seed, **self.table.changes(self.preset, row), **weights}

    def config(self, row: str, seed: int) -> Config:
        """Return the config of an experiment's run."""
        config = load_config(row)
        for name, value in self.settings(row, seed).items():
            *sections, field = name.split(".")
            setattr(reduce(getattr, sections, config), field, value)
        return config

    def arguments(self, row: str, seed: int, workdir: Path) -> list[str]:
        """Return what a run's command is called with."""
        job, folder = self.jobs[row], run_folder(workdir, row, seed)
        runs = {name: run_folder(workdir, of, seed) for name, of in job.joins.items()}
        if job.command == "ensemble":
            return [*job.flags, "--runs", *map(str, runs.values()), f"--workdir={folder}"]
        arguments = [*job.flags, f"--data_dir={self.data_dir}", f"--workdir={folder}"]
        if job.weights:
            return arguments
        if job.config is None:
            return [*arguments, f"--seed={seed}"]
        arguments += [f"--config.{name}={value}" for name, value in self.settings(row, seed).items()]
        if runs:
            arguments.append(f"--runs={','.join(f'{name}={run}' for name, run in runs.items())}")
        return arguments

    def __str__(self) -> str:
        """Say what will be done, and what will not."""
        lines = [f"{len(self.runs)} run{'s' * (len(self.runs) != 1)} on {self.data}"]
        if self.added:
            lines.append(f"added, because others join them: {', '.join(self.added)}")
        reasons = dict.fromkeys(why for row, why in self.impossible.items() if row in self.rows)
        for why in reasons:
            of_reason = (row for row in self.rows if self.impossible.get(row) == why)
            lines.append(f"left out: {', '.join(of_reason)}: {why}")
        return "\n".join(lines)
