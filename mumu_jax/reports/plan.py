"""A plan of Table 2: the rows in the paper's order, the settings of each run, and why the data rules some rows out."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import reduce
from pathlib import Path
from typing import Any

from mumu_jax.config import Config, flatten
from mumu_jax.data.manifest import SPLITS, read_manifest
from mumu_jax.data.modalities import MODALITIES
from mumu_jax.data.modalities.inputs import Inputs
from mumu_jax.data.store.records import DESCRIPTION, Prepared, open_prepared, read_description
from mumu_jax.errors import UserError, nearest
from mumu_jax.experiments import load_config, load_experiments

# The paper's order, in which the runs that a fusion joins come before it.
ORDER = ("timbre", "audio", "mel", "text", "image", "fusion")
NOT_IN_PAPER = {  # with what the table says of them
    "audio_musicnn_mtt_logistic": "not in the paper: a published network that has heard none of MuMu's songs, frozen",
    "image_resnet101_cosine": "not in the paper, which names it as future work",
}
# The runs that a fusion joins, the paper's A, T and I; and the T for data without named entities.
SOURCES = {"audio": "audio_high_4x70_cosine", "text": "text_vsm_sem_cosine", "image": "image_resnet101_logistic"}
TEXT_WITHOUT_ENTITIES = "text_vsm_cosine"
# A preset fits the whole table to a small machine and small data: changed settings, by the start of a row's name.
# No published weights fit a ResNet of 14 layers: random ones, on few covers, need a larger learning rate, more
# patience and milder views.
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "paper": {},
    "smoke": {
        "audio_low": {"model.width_divisor": 2, "optim.max_epochs": 20},
        "audio_high": {"model.width_divisor": 8, "optim.max_epochs": 20},
        "image": {
            "model.depth": 14,
            "augment.size_px": 96,
            "augment.min_area": 0.5,
            "augment.colour": 0.1,
            "optim.learning_rate": 0.05,
            "optim.batch_size": 20,
            "optim.max_epochs": 40,
            "optim.patience": 12,
        },
    },
}


@dataclass(frozen=True)
class Plan:
    """The runs of a table.

    `rows` are experiments, in order; `added` are the rows that were not asked for, but that fusions join;
    `impossible` says why the data rules a row out; `sources` are the rows that fusions join, by modality;
    `checksums` are the data's, by modality, and `data` describes it; `image_weights` is a file or empty.
    """

    data_dir: Path
    preset: str
    seeds: int
    image_weights: str
    rows: list[str]
    added: list[str]
    impossible: dict[str, str]
    sources: dict[str, str]
    checksums: dict[str, str]
    data: str

    @property
    def runs(self) -> list[tuple[str, int]]:
        """(experiment, seed) of every run: the whole table of one seed before the next."""
        return [(row, seed) for seed in range(self.seeds) for row in self.rows if row not in self.impossible]

    def settings(self, row: str, seed: int) -> dict[str, Any]:
        """Return the settings in which a run differs from its experiment."""
        weights = {"model.weights": self.image_weights} if self.image_weights and row.startswith("image") else {}
        return {"seed": seed, **preset_changes(self.preset, row), **weights}

    def config(self, row: str, seed: int) -> Config:
        """Return the config of a run."""
        config = load_config(row)
        for name, value in self.settings(row, seed).items():
            *sections, field = name.split(".")
            setattr(reduce(getattr, sections, config), field, value)
        return config

    def __str__(self) -> str:
        """Say what will be done, and what will not."""
        lines = [f"{len(self.runs)} run{'s' * (len(self.runs) != 1)} on {self.data}"]
        if self.added:
            lines.append(f"added, because fusions join them: {', '.join(self.added)}")
        lines += [f"left out: {row}: {why}" for row, why in self.impossible.items() if row in self.rows]
        return "\n".join(lines)


def table_rows() -> list[str]:
    """Return the experiments of Table 2 in its order, and those of NOT_IN_PAPER."""
    experiments = load_experiments()
    rows = [
        name
        for name, experiment in experiments.items()
        if name.endswith(f"_{experiment.config.target.kind}")  # not the short name of the same experiment
        and (experiment.paper or name in NOT_IN_PAPER)
    ]
    return sorted(rows, key=lambda row: ORDER.index(experiments[row].config.modality))


def make_plan(data_dir: Path, patterns: str, preset: str, seeds: int, image_weights: str) -> Plan:
    """Plan the rows that match `patterns`, and the rows that fusions among them join.

    Raises UserError if no row matches, if the data rules out all that match, and if the data is damaged.
    """
    if not (data_dir / "manifest.jsonl").exists():
        raise UserError(f"there is no prepared data in {data_dir}; correct --data_dir, or call mumu_jax.prepare")
    configs = {row: load_experiments()[row].config for row in table_rows()}
    opened = {name: _open(data_dir, name) for name in MODALITIES}
    missing = {name: one for name, one in opened.items() if isinstance(one, str)}
    no_entities = "" if "text" in missing else _missing_entities(data_dir)
    impossible = _impossible(configs, missing, no_entities)
    wanted = _match(patterns, list(configs))
    if all(row in impossible for row in wanted):
        raise UserError(f"{data_dir} allows none of the rows: {impossible[wanted[0]]}")
    sources = SOURCES | ({"text": TEXT_WITHOUT_ENTITIES} if no_entities else {})
    sources_of_wanted = {sources[name] for row in wanted if row not in impossible for name in joined(configs[row])}
    rows = [row for row in configs if row in wanted or row in sources_of_wanted]
    return Plan(
        data_dir=data_dir,
        preset=preset,
        seeds=seeds,
        image_weights=image_weights,
        rows=rows,
        added=[row for row in rows if row not in wanted],
        impossible=impossible,
        sources=sources,
        checksums={name: one.checksum for name, one in opened.items() if isinstance(one, Prepared)},
        data=_describe(data_dir),
    )


def preset_changes(preset: str, row: str) -> dict[str, Any]:
    """Return the settings of a row that a preset changes, with their new values."""
    return next((settings for start, settings in PRESETS[preset].items() if row.startswith(start)), {})


def describe_changes(preset: str, row: str) -> str:
    """Return a preset's changes of a row as `optim.max_epochs 100 → 20 (÷ 5), …`."""
    before, changes = flatten(load_config(row)), []
    for name, new in preset_changes(preset, row).items():
        old = before[name]
        factor = f" (÷ {old / new:.3g})" if isinstance(old, int) and old > new else ""
        changes.append(f"{name} {old:g} → {new:g}{factor}")
    return ", ".join(changes)


def joined(config: Config) -> list[str]:
    """Return the modalities whose runs a fusion joins; none for another experiment."""
    return [] if Inputs.unfitted(config).prepared else config.fusion.names


def _impossible(configs: Mapping[str, Config], missing: Mapping[str, str], no_entities: str) -> dict[str, str]:
    """Return the reasons why the data rules out a row, by row."""
    reasons = {}
    for row, config in configs.items():
        reasons[row] = [missing[name] for name in joined(config) or config.inputs if name in missing]
        if config.tfidf.categories and no_entities:
            reasons[row].append(no_entities)
        if config.model.weights and not Path(config.model.weights).exists():
            reasons[row].append(f"there is no {config.model.weights}, which bash scripts/pretrained makes")
    return {row: "; ".join(of_row) for row, of_row in reasons.items() if of_row}


def _open(data_dir: Path, name: str) -> Prepared | str:
    """Return the prepared data of a modality, or why networks of it cannot be trained and tested on the data.

    Raises UserError if data that the paper's rows see is damaged, or was made with other settings.
    """
    modality = MODALITIES[name]
    if not (data_dir / name / DESCRIPTION).exists():
        how = "" if modality.by_default else f" with {name} among its --modalities"
        return f"the data has no {name}: name {modality.sees} in the source, and prepare again{how}"
    try:
        prepared = open_prepared(data_dir, getattr(Config(), name))
    except UserError as error:
        if modality.by_default:
            raise
        return str(error)
    empty = [split for split in SPLITS if not len(prepared.split(split))]
    return f"no album of the {' and '.join(empty)} split has {name}" if empty else prepared


def _missing_entities(data_dir: Path) -> str:
    linked = read_description(data_dir / "text").splits["train"]["linked"]
    return "" if linked else "no training text has a linked entity: prepare with --gazetteer or --entities_dir"


def _describe(data_dir: Path) -> str:
    albums = read_manifest(data_dir / "manifest.jsonl")
    n_albums = Counter(album.split for album in albums)
    counts = ", ".join(f"{n_albums[split]:,} {split}" for split in SPLITS)
    genres = {genre for album in albums for genre in album.genres}
    return f"{len(albums):,} albums ({counts}) with {len(genres):,} genres"


def _match(patterns: str, rows: list[str]) -> list[str]:
    """Return the rows that match one of the patterns, separated by commas, with or without their target."""
    wanted = set()
    for pattern in patterns.split(","):
        matches = [row for row in rows if fnmatchcase(row, pattern) or fnmatchcase(row.rpartition("_")[0], pattern)]
        if not matches:
            near = nearest(pattern, rows)
            hint = f"did you mean {near!r}?" if near else f"they are {', '.join(rows)}"
            raise UserError(f"--rows: no row of the table is named {pattern!r}; {hint}")
        wanted.update(matches)
    return [row for row in rows if row in wanted]
