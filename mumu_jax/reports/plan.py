"""Which runs Table 2 takes: its rows in the paper's order, those that the data allows, and what fusions join."""

import difflib
from collections import Counter
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from mumu_jax.config import Config
from mumu_jax.data.manifest import SPLITS, read_manifest
from mumu_jax.data.modalities import MODALITIES
from mumu_jax.data.store.records import DESCRIPTION, Prepared, open_prepared, read_description
from mumu_jax.errors import UserError
from mumu_jax.experiments import load_config, load_experiments
from mumu_jax.reports import presets

# In the paper's order, in which the runs that a fusion joins come before it.
ORDER = ("timbre", "audio", "text", "image", "fusion")
NOT_PRINTED = ("image_resnet101_cosine",)  # future work there
# The runs that a fusion joins: the paper's A, T and I; where no text names an entity, another T.
SOURCES = {"audio": "audio_high_4x70_cosine", "text": "text_vsm_sem_cosine", "image": "image_resnet101_logistic"}
REMEDIES = {
    "audio": "name songs in the source, and prepare again",
    "text": "name texts in the source, and prepare again",
    "image": "name covers in the source, and prepare again",
    "timbre": "it is made of the Million Song Dataset's files (a manifest, or --source=mumu)",
}
TEXT_WITHOUT_ENTITIES = "text_vsm_cosine"


@dataclass(frozen=True)
class Plan:
    """What is to be trained.

    `rows` are experiments, in order; `added` are those among them that were not asked for, but are joined by fusions;
    `impossible` says why the data does not allow some; `sources` are the rows that fusions join, by modality;
    `checksums` are of the data, by modality, and `data` describes it; `image_weights` is a file or empty.
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
        """(experiment, seed): the whole table of one seed before the next."""
        return [(row, seed) for seed in range(self.seeds) for row in self.rows if row not in self.impossible]

    def __str__(self) -> str:
        """What will be done, and what not."""
        lines = [f"{len(self.runs)} runs on {self.data}"]
        if self.added:
            lines.append(f"added, because fusions join them: {', '.join(self.added)}")
        lines += [f"left out: {row}: {why}" for row, why in self.impossible.items() if row in self.rows]
        return "\n".join(lines)

    def config(self, experiment: str, seed: int) -> Config:
        """The experiment as it is to be run."""
        config = load_config(experiment)
        presets.apply(self.preset, config)
        config.seed = seed
        if config.modality == "image":
            config.model.weights = self.image_weights
        return config


def table_rows() -> list[str]:
    """The experiments of Table 2 in its order, and ResNet-101 with cosine targets."""
    experiments = load_experiments()
    return [
        name
        for modality in ORDER
        for name, one in experiments.items()
        if one.config.modality == modality
        and name.endswith(f"_{one.config.target.kind}")  # not the short name of the same experiment
        and (one.paper or name in NOT_PRINTED)
    ]


def make_plan(data_dir: Path, patterns: str, preset: str, seeds: int, image_weights: str) -> Plan:
    """The rows that `patterns` name, and those that fusions among them join.

    Raises UserError where there is no such row, where the data allows none, and on data or weights that are damaged.
    """
    if not (data_dir / "manifest.jsonl").exists():
        raise UserError(f"there is no prepared data in {data_dir}; correct --data_dir, or call mumu_jax.prepare")
    configs = {row: load_experiments()[row].config for row in table_rows()}
    there = {
        name: open_prepared(data_dir, getattr(Config(), name))
        for name in MODALITIES
        if (data_dir / name / DESCRIPTION).exists()
    }
    lacking = {name: why for name in MODALITIES if (why := _lacks(there.get(name), name))}
    sources = dict(SOURCES)
    without_entities = _without_entities(data_dir) if "text" not in lacking else ""
    if without_entities:
        sources["text"] = TEXT_WITHOUT_ENTITIES
    impossible = {}
    for row, config in configs.items():
        names = config.fusion.names if config.modality == "fusion" else [config.modality]
        reasons = [lacking[name] for name in names if name in lacking]
        if config.tfidf.categories and without_entities:
            reasons.append(without_entities)
        if reasons:
            impossible[row] = "; ".join(reasons)
    wanted = _match(patterns, list(configs))
    if all(row in impossible for row in wanted):
        raise UserError(f"{data_dir} allows none of the rows: {impossible[wanted[0]]}")
    fusions = [row for row in wanted if configs[row].modality == "fusion" and row not in impossible]
    joined = {sources[name] for row in fusions for name in configs[row].fusion.names}
    rows = [row for row in configs if row in wanted or row in joined]
    added = [row for row in rows if row not in wanted]
    checksums = {name: prepared.checksum for name, prepared in there.items()}
    about = (sources, checksums, _describe(data_dir))
    return Plan(data_dir, preset, seeds, image_weights, rows, added, impossible, *about)


def _describe(data_dir: Path) -> str:
    albums = read_manifest(data_dir / "manifest.jsonl")
    n_of = Counter(album.split for album in albums)
    counts = ", ".join(f"{n_of[split]:,} {split}" for split in SPLITS)
    genres = {genre for album in albums for genre in album.genres}
    return f"{len(albums):,} albums ({counts}) with {len(genres):,} genres"


def _match(patterns: str, rows: list[str]) -> list[str]:
    """The rows that one of the patterns, separated by commas, names; the target may be left out: both then."""
    wanted = set()
    for pattern in patterns.split(","):
        found = [row for row in rows if fnmatchcase(row, pattern) or fnmatchcase(row.rpartition("_")[0], pattern)]
        if not found:
            near = difflib.get_close_matches(pattern, rows, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"they are {', '.join(rows)}"
            raise UserError(f"--rows: no row of the table is named {pattern!r}; {hint}")
        wanted.update(found)
    return [row for row in rows if row in wanted]


def _lacks(prepared: Prepared | None, modality: str) -> str:
    """Why networks of a modality cannot be trained and tested on the data; nothing where they can."""
    if prepared is None:
        return f"the data has no {modality}: {REMEDIES[modality]}"
    empty = [split for split in SPLITS if not len(prepared.split(split))]
    return f"no album of the {' and '.join(empty)} split has {modality}" if empty else ""


def _without_entities(data_dir: Path) -> str:
    linked = read_description(data_dir / "text").splits["train"]["linked"]
    return "" if linked else "no training text has a linked entity: prepare with --gazetteer or --entities_dir"
