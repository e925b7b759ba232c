"""The results of Won et al. 2020: music tagging by networks on mel spectrograms, trained here or as published.

Their numbers are of three public data sets; which of them stand in the table depends on where the data comes from.
Published weights (`--weights`) are scored as they are; so are Pons and Serra's of 2019, beside their own numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from mumu_jax.compression import PRESETS
from mumu_jax.config import MelSettings
from mumu_jax.data.modalities.mel import differences_from
from mumu_jax.data.sources import SOURCES
from mumu_jax.data.sources.dataset import Choice
from mumu_jax.data.sources.origin import Origin, read_origin
from mumu_jax.errors import UserError
from mumu_jax.reports.tables.base import Job, Plan, Table
from mumu_jax.reports.tables.comparison import Comparison, Line, Row, columns_of
from mumu_jax.reports.tables.plan import training_job
from mumu_jax.reports.tables.results import Result, read_results
from mumu_jax.runs.published import config_of, load_tagger
from mumu_jax.runs.published_scores import N_PATCHES
from mumu_jax.system.files import sha256_of
from mumu_jax.training.vocabularies import VOCABULARIES

METRICS = ("roc_auc_macro", "pr_auc_macro")
WON, PONS = "Won et al. 2020", "Pons and Serra 2019"
CLEAN, FULL = Origin("magnatagatune", "clean"), Origin("magnatagatune", "full")
MSD, JAMENDO = Origin("msd_lastfm", "won"), Origin("jamendo", "top50")
TAGS = {CLEAN: "mtat", FULL: "mtat", MSD: "msd", JAMENDO: "jamendo"}  # names of VOCABULARIES


class Published(NamedTuple):
    """A published network: its title, whose numbers they are, and ROC-AUC and PR-AUC by data set."""

    title: str
    origin: str
    numbers: Mapping[Origin, tuple[float, float]]


def _won(title: str, *numbers: tuple[float, float]) -> Published:
    return Published(title, WON, dict(zip((CLEAN, MSD, JAMENDO), numbers, strict=True)))


def _pons(title: str, *numbers: tuple[float, float]) -> Published:
    return Published(title, PONS, dict(zip((FULL, MSD), numbers, strict=True)))


# By network and mel bands.
PUBLISHED = {
    ("fcn", 96): _won("FCN", (0.9005, 0.4295), (0.8744, 0.2970), (0.8255, 0.2801)),
    ("fcn", 128): _won("FCN", (0.8994, 0.4236), (0.8742, 0.2963), (0.8245, 0.2792)),
    ("crnn", 96): _won("CRNN", (0.8722, 0.3625), (0.8499, 0.2469), (0.7978, 0.2358)),
    ("crnn", 128): _won("CRNN", (0.8703, 0.3601), (0.8460, 0.2330), (0.7984, 0.2378)),
    ("musicnn_won", 96): _won("musicnn", (0.9106, 0.4493), (0.8803, 0.2983), (0.8226, 0.2713)),
    ("musicnn_won", 128): _won("musicnn", (0.9092, 0.4546), (0.8788, 0.3036), (0.8275, 0.2810)),
    ("short_chunk", 128): _won("short-chunk", (0.9126, 0.4590), (0.8883, 0.3251), (0.8324, 0.2976)),
    ("short_chunk_residual", 128): _won("short-chunk + residual", (0.9129, 0.4614), (0.8898, 0.3280), (0.8316, 0.2951)),
    ("musicnn", 96): _pons("Pons' musicnn", (0.9067, 0.3831), (0.8802, 0.2891)),
    ("musicnn_big", 96): Published("Pons' large musicnn", PONS, {MSD: (0.8841, 0.3003)}),
    ("vgg", 96): _pons("Pons' VGG", (0.9030, 0.3823), (0.8768, 0.2819)),
}
# The networks that are trained, with their mel bands.
BANDS = {"fcn": 96, "crnn": 96, "musicnn_won": 96, "short_chunk": 128, "short_chunk_residual": 128}
FOR_MSD = {"musicnn_won_big": "musicnn_won"}  # the same row of their table
FEW = {"optim.max_epochs": 2, "optim.batch_size": 8, "optim.learning_rate": 1e-3}
RECIPE = "ours is trained from random weights, by a recipe that the notes compare with theirs"
SCORED = "ours is the score of their weights, as they are"
OTHER_TAGS = "no published numbers: the weights have the tags of other data"


class Weights(NamedTuple):
    """A file of `--weights`: its network, mel bands, tags, its bytes' SHA-256, and the mel settings that it needs."""

    path: Path
    network: str
    n_bins: int
    tags: tuple[str, ...]
    sha256: str
    mel: MelSettings


@dataclass(frozen=True)
class Won2020(Comparison):
    """Five networks trained here, and published ones that are scored as they are."""

    weights: tuple[Weights, ...] = ()

    name, title, axis = "won2020", "Won et al. 2020", "ROC-AUC"
    about = "networks of music tagging, trained and as published, of Won et al. 2020, on any data"
    source = f"{WON} and {PONS}"
    caption = "Music tagging, test tracks: ours, each beside the number that is published for this data"
    seeds, chance = 1, 0.5
    metrics = METRICS
    columns = columns_of(METRICS, n_digits=4)
    width = 112
    notes: ClassVar[Sequence[str]] = (
        f"metrics: macro ROC-AUC and PR-AUC (average precision) of the mean probability of {N_PATCHES} evenly spaced "
        "patches of a track, as published; theirs begin at the first sample, ours half a step later",
        "input: theirs, but for float16 in storage; patches of songs longer than 30 s lie within excerpts of 30 s",
        "optimizer: as theirs, 80 epochs of Adam at 1e-4, then SGD at 1e-3 for 20, at 1e-4 for 20, and at 1e-5 up to "
        "200, each from the best weights so far",
        "selection: both by validation loss, theirs of the mean of 16 patches, ours of one patch a track",
        "mel bands, in brackets: networks of 96 and of 128 need data of their own (--mel.preset=won, won128); a second "
        "call with the other --data_dir and the same --workdir adds them",
    )
    presets: ClassVar[Mapping[str, Mapping[str, Mapping[str, Any]]]] = {
        "paper": {},
        "smoke": {
            "mel_musicnn_won": FEW,
            "mel": {**FEW, "model.width_divisor": 16},
        },
    }

    def with_weights(self, files: Sequence[Path]) -> Table:
        """Return the table with a row for each file.

        Raises UserError if a file holds no network of the table, or the same as another one.
        """
        weights = [_read(path) for path in files]
        for i, one in enumerate(weights):
            same = next((other for other in weights[:i] if other[1:3] == one[1:3]), None)
            if same:
                raise UserError(f"--weights: {same.path} and {one.path} hold the same network; give one of them")
        return replace(self, weights=tuple(weights))

    def data_name(self, modality: str, settings: Any) -> str:
        """Return the preset: networks of 96 and of 128 bands see data of different folders."""
        presets = (name for name in PRESETS if not differences_from(name, settings))
        return f"{modality} {next(presets, '')}".strip()

    def jobs(self, data_dir: Path) -> dict[str, Job]:
        """Return the experiments, and the evaluation of each file of weights."""
        origin, jobs = read_origin(data_dir), {}
        for network in BANDS:
            job = training_job(_experiment(network))
            flags = [*job.flags, f"--config.data.patches={N_PATCHES}"]
            if network == "musicnn_won" and origin and origin.source == MSD.source:
                flags.append("--config.model.width=high")  # as published for the MSD
            jobs[_experiment(network)] = replace(job, flags=tuple(flags))
        for one in self.weights:
            name = _published(one.network, one.n_bins)
            jobs[name] = Job("evaluate", {"mel": one.mel}, flags=(f"--model={one.path}",), weights=one.sha256)
        return jobs

    def lines_of(self, plan: Plan, workdir: Path) -> list[Line]:
        """Return a line for each network that is trained, and for each that is published."""
        origin, tags = read_origin(plan.data_dir), {_published(*one[1:3]): one.tags for one in self.weights}
        lines = [_line(_experiment(network), network, n_bins, origin, RECIPE) for network, n_bins in BANDS.items()]
        for network, n_bins in PUBLISHED:
            job = _published(network, n_bins)
            measured = (tuple(one.evaluation["weights"]["tags"]) for one in read_results(workdir, job))
            of_job = tags.get(job) or next(measured, ())
            fits = origin not in TAGS or of_job == VOCABULARIES[TAGS[origin]]
            line = _line(job, network, n_bins, origin, SCORED)
            lines.append(line if fits else replace(line, printed={}, origin="", why=OTHER_TAGS))
        return lines

    def _measure_line(self, line: Line, plan: Plan, results: Sequence[Result], failed: list[str]) -> Row:
        """Also say how many of the published test tracks there are, and which labels have no counterpart."""
        row = super()._measure_line(line, plan, results, failed)
        origin, notes = read_origin(plan.data_dir), [row.note]
        if results and origin in TAGS:
            dataset = SOURCES[origin.source].dataset
            assert dataset is not None  # of a public data set
            n_published = dataset.sizes(Choice(origin.subset, origin.fold))["test"]
            n_scored = results[0].evaluation[line.level]["n_items"]
            if n_scored != n_published:
                notes.append(f"scored on {n_scored:,} test tracks, published on {n_published:,}")
        for one in results[:1]:
            notes += [
                f"{len(names)} {words}"
                for words, names in (
                    ("labels are no tags of the network, and not scored", one.evaluation.get("unknown", [])),
                    ("tags of the network are no labels of the data", one.evaluation.get("unused", [])),
                )
                if names
            ]
        return replace(row, note="; ".join(filter(None, notes)))


def _read(path: Path) -> Weights:
    pretrained = load_tagger(path)
    mel, network = config_of(pretrained).mel, FOR_MSD.get(pretrained.model, pretrained.model)
    if (network, mel.n_bins) not in PUBLISHED:
        known = ", ".join(dict.fromkeys(network for network, _ in PUBLISHED))
        raise UserError(f"--weights={path} holds {network} of {mel.n_bins} bands, which is not in the table: {known}")
    return Weights(path, network, mel.n_bins, pretrained.vocabulary, sha256_of(path), mel)


def _experiment(network: str) -> str:
    return f"mel_{network}_logistic"


def _published(network: str, n_bins: int) -> str:
    return f"published_{network}_{n_bins}"


def _line(job: str, network: str, n_bins: int, origin: Origin | None, why: str) -> Line:
    """Return a line with the numbers that are published for this origin, or why there are none."""
    published = PUBLISHED[network, n_bins]
    title = f"{'published ' if job == _published(network, n_bins) else ''}{published.title} ({n_bins})"
    if origin and origin in published.numbers:
        printed: dict[str, float] = dict(zip(METRICS, published.numbers[origin], strict=True))
        return Line(job, title, "track", printed, published.origin, why)
    return Line(job, title, "track", why=f"no published numbers: {_why_none(published, origin)}")


def _why_none(published: Published, origin: Origin | None) -> str:
    if origin is None:
        return "the data does not say where it comes from; the same call of prepare writes that"
    if origin.changed_by:
        return f"the data was prepared with {', '.join(f'--{name}' for name in origin.changed_by)}"
    fold = f", fold {origin.fold}" if origin.fold else ""
    return f"{published.origin} have none of {' '.join(filter(None, (origin.source, origin.subset)))}{fold}"


WON2020 = Won2020()
