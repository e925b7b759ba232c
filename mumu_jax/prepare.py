"""Command `python -m mumu_jax.prepare`: any source → manifest, labels and prepared data in one folder."""

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mumu_jax.data.modalities import BY_DEFAULT, MODALITIES
from mumu_jax.data.modalities.base import PreparedModality
from mumu_jax.data.preparation.job import CORES, MAX_BAD, Job, prepare
from mumu_jax.data.preparation.summary import BAD_FILES_ALLOWED
from mumu_jax.data.sources import SOURCES
from mumu_jax.data.sources.dataset import Dataset
from mumu_jax.data.sources.same import WAYS
from mumu_jax.data.store.beam import chosen_for_each
from mumu_jax.fields import validate
from mumu_jax.system.lines import print_lines, print_remark
from mumu_jax.system.terminal import positive, run_command

TOO_MANY_BAD = 3  # exit status
FOLDERS = {  # that may be named beside the input
    "entities": "ALBUM_ID.json files of Babelfy or ELVIS",
    "audio": "the folder of the songs",
    "covers": "the folder of the covers",
    "msd": "the folder of the MSD's .h5 files",
}


def main(argv: Sequence[str]) -> int:
    """Prepare a source and print the summary."""
    options = _parse(argv)
    folders = {name: getattr(options, f"{name}_dir") for name in FOLDERS}
    summary = prepare(
        Job(
            source=options.source,
            input=options.input,
            data_dir=options.data_dir,
            workers=options.workers,
            max_bad=options.max_bad,
            modalities=options.modalities,
            settings={name: _settings(modality, options) for name, modality in MODALITIES.items()},
            folders={name: folder for name, folder in folders.items() if folder is not None},
            gazetteer=options.gazetteer,
            duplicates=options.duplicates,
            genre_map=options.map,
            taxonomy=options.taxonomy,
            subset=options.subset,
            fold=options.fold,
            for_each=chosen_for_each(options.beam_runner, options.beam_options),
        )
    )
    print_lines(str(summary))
    for name, (n_bad, n_present) in summary.too_bad.items():
        print_remark(
            f"error: {n_bad} of {n_present} files are damaged ({name}, {n_bad / n_present:.0%}, above "
            f"--max_bad={summary.max_bad:g}); the rest is prepared and can be used"
        )
    return TOO_MANY_BAD if summary.too_bad else 0


def _settings(modality: PreparedModality, options: argparse.Namespace) -> Any:
    preset = getattr(options, f"{modality.name}.preset", "")
    names = [setting.name for setting in dataclasses.fields(modality.settings)]
    named = {name: getattr(options, f"{modality.name}.{name}") for name in names}
    settings = modality.presets[preset] if preset else modality.settings()
    settings = dataclasses.replace(settings, **{name: value for name, value in named.items() if value is not None})
    validate(settings, modality.name)
    return settings


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m mumu_jax.prepare",
        description="Turn a collection into data to train on.  After a kill, the same call continues.",
        epilog="sources:\n"
        + "\n".join(f"  {source.name:<14} --input is {source.layout}" for source in SOURCES.values())
        + "\n\npublic data sets:\n"
        + "\n".join(_about(source.name, source.dataset) for source in SOURCES.values() if source.dataset)
        + "\n\nexit status: 0 done, 2 wrong input, 3 done but too many files are damaged, 130 interrupted",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--source", required=True, metavar="NAME", help=f"one of {', '.join(SOURCES)}")
    parser.add_argument("--input", type=Path, metavar="PATH", help="the source's input, see below")
    parser.add_argument("--data_dir", type=Path, required=True, metavar="OUT", help="the folder to write")
    parser.add_argument("--workers", type=positive, default=CORES, metavar="N", help="number of processes (all cores)")
    parser.add_argument(
        "--max_bad",
        type=_share,
        default=MAX_BAD,
        metavar="SHARE",
        help=f"exit with status {TOO_MANY_BAD} if more than this share of a modality's files, and more than "
        f"{BAD_FILES_ALLOWED} files, are damaged; missing files do not count ({MAX_BAD:g})",
    )
    parser.add_argument(
        "--beam_runner",
        metavar="NAME",
        help="decode under Apache Beam by this runner, such as DirectRunner or SparkRunner; all its machines must see "
        "--data_dir and the audio under the same paths",
    )
    parser.add_argument(
        "--beam_options",
        default="",
        metavar="OPTIONS",
        help='options of Beam, in one argument: --beam_options="--direct_num_workers=8 --direct_running_mode=…"',
    )
    parser.add_argument(
        "--modalities",
        type=_modalities,
        default=BY_DEFAULT,
        metavar="A,B",
        help=f"modalities to prepare, of {', '.join(MODALITIES)}; by default all that the source has of "
        f"{', '.join(BY_DEFAULT)}",
    )
    parser.add_argument(
        "--duplicates",
        choices=[*WAYS],
        help="songs that are an earlier album's, byte for byte, and with --source=covers images that look like an "
        "earlier one: drop them, merge their albums into one with the genres of both, or keep all in one split. By "
        "default covers are dropped, and songs are listed in duplicates.jsonl if another split has them",
    )
    parser.add_argument(
        "--map",
        type=Path,
        metavar="FILE",
        help="a YAML file with sections rename, merge, drop and parents, which changes the genres of any source",
    )
    parser.add_argument(
        "--taxonomy",
        metavar="beets|FILE",
        help="a tree of genres, that of the installed beets or a genres-tree.yaml: albums get the genres above theirs, "
        "and the spellings of the tree",
    )
    parser.add_argument(
        "--gazetteer",
        type=Path,
        metavar="FILE",
        help="a file made by scripts/build_gazetteer.py, which links entities; later calls keep it",
    )
    for name, content in FOLDERS.items():
        users = ", ".join(source.name for source in SOURCES.values() if name in source.folders)
        help_of_folder = f"{content} (--source={users})" if users else content
        parser.add_argument(f"--{name}_dir", type=Path, metavar="DIR", help=help_of_folder)
    parser.add_argument("--subset", metavar="NAME", help="the part of a public data set, see below")
    parser.add_argument("--fold", type=int, metavar="N", help="the number of its division into splits (0)")
    for modality in MODALITIES.values():
        if modality.presets:
            names = ", ".join(modality.presets)
            help_of_preset = f"published settings, the defaults of those below: {names}"
            parser.add_argument(f"--{modality.name}.preset", choices=modality.presets, help=help_of_preset)
        for setting in dataclasses.fields(modality.settings):
            option, default = f"--{modality.name}.{setting.name}", setting.default
            choices = " or ".join(map(str, setting.metadata.get("choices", ())))
            parser.add_argument(option, type=type(default), help=f"{choices} ({default})".strip())
    return parser.parse_args(argv)


def _about(name: str, dataset: Dataset) -> str:
    subsets = "; ".join(f"{name}: {subset}" for name, subset in dataset.subsets.items())
    folds = f"; --fold=0 to {dataset.n_folds - 1}" if dataset.n_folds > 1 else ""
    return (
        f"  {name:<14} {dataset.title}, {dataset.n_tracks:,} tracks; {dataset.home}\n"
        f"{'':17}{dataset.licence}\n{'':17}--subset=NAME of {subsets}{folds}"
    )


def _modalities(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in MODALITIES:
            raise argparse.ArgumentTypeError(f"no modality {name!r}; choose from {', '.join(MODALITIES)}")
    return names


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{value} is not between 0 and 1")
    return value


if __name__ == "__main__":
    run_command(main)
