"""`python -m mumu_jax.tag`: genres for anyone's own songs, texts, covers or MSD files, from a run, an export of one, or
published networks.

A model of several modalities tags albums or songs: a.mp3, a.txt and a.jpg are one.
"""

import argparse
import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from mumu_jax.data.modalities.base import Read
from mumu_jax.data.modalities.suffixes import is_audio
from mumu_jax.errors import UserError
from mumu_jax.runs.calibration import open_thresholds
from mumu_jax.runs.ensemble import Ensemble, is_ensemble, open_ensemble
from mumu_jax.runs.exported import open_export
from mumu_jax.runs.own_files import Model, find_items, score_items
from mumu_jax.runs.scorer import Scorer, Seen, open_run
from mumu_jax.runs.several import open_models
from mumu_jax.runs.song_options import add_writing_options, check_options, open_writer, undo_and_print
from mumu_jax.runs.stems import Stem
from mumu_jax.runs.tags import Genre, TagFile, Tags, Terminal, open_tags
from mumu_jax.runs.vector_file import open_vectors
from mumu_jax.system.cache import keep_compiled_programs
from mumu_jax.system.lines import print_line, print_remark
from mumu_jax.system.terminal import positive, progress_bar, run_command, share

EXIT_NOTHING = 3  # no file could be tagged
EXIT_NOT_WRITTEN = 1  # a song could not be written, or restored
TOP_K = 5

# the scores of a file → its genres with their scores, best first
Choose = Callable[[Float[np.ndarray, " labels"]], list[Genre]]


def main(argv: Sequence[str]) -> int:
    """Tag the files that have no tags yet."""
    parser = _parser()
    arguments = parser.parse_intermixed_args(argv)  # files may follow options, too
    if arguments.undo:
        return EXIT_NOT_WRITTEN if undo_and_print(arguments.undo) else 0
    check_options(parser, arguments)
    keep_compiled_programs()
    scorer = _open(arguments)
    files = find_items(arguments.paths, scorer.readers)
    choose, names = _choice(arguments, scorer)
    with (
        open_writer(arguments, scorer.readers) as writer,
        open_vectors(arguments.vectors, scorer) as vectors,
        open_tags(arguments.out, names) as out,
    ):
        todo = [file for path, file in files.items() if not (out.has(path) and (vectors is None or vectors.has(path)))]
        _say_what_is_there(out, files, len(todo))
        for path in filter(out.has, files):
            if writer and (error := writer.write(song_of(files[path]), out.genres_of(path))):
                print_remark(f"{path}: {error}")
        n_failed = 0
        with progress_bar(len(todo), "tagging") as progress:
            for read, seen in score_items(scorer, todo, arguments.batch_size, arguments.workers):
                with progress.paused():
                    if vectors and seen:
                        vectors.add(read.path, seen)
                    if not out.has(read.path):
                        tags = _tags_of(read, seen, choose, arguments.patches)
                        if writer and tags.genres:
                            error = writer.write(song_of(files[read.path]), [genre for genre, _ in tags.genres])
                            tags = replace(tags, error=error)
                        out.write(tags)
                n_failed += seen is None
                progress.advance()
    if n_failed:
        print_remark(f"{n_failed} of {len(todo)} files could not be tagged; their rows say why")
    if writer:
        print_line(writer.summary())
    return EXIT_NOTHING if n_failed == len(files) else EXIT_NOT_WRITTEN if writer and writer.n_failed else 0


def _say_what_is_there(out: TagFile | Terminal, files: Collection[Path], n_todo: int) -> None:
    """Say how many of the files have tags already, and how many have an error."""
    if n_todo < len(files):
        print_line(f"{len(files) - n_todo} of {len(files)} files are in {out.path} already")
    if n_again := sum(map(out.has_error, files)):
        print_remark(f"{n_again} files have an error in {out.path}: they are tried again")


def _tags_of(read: Read, seen: Seen | None, choose: Choose, with_patches: bool) -> Tags:
    """Return a file's row: its genres, or the reason why there are none."""
    if seen is None:
        return Tags(read.path, read.seconds, [], read.error)
    starts_s = [record["start_s"] for record in read.records if "start_s" in record] if with_patches else []
    patches = [(start_s, choose(scores)) for start_s, scores in zip(starts_s, seen.patches, strict=bool(starts_s))]
    return Tags(read.path, read.seconds, choose(seen.scores), read.error, patches)


def song_of(item: Any) -> Path | None:
    """Return the song of one of `find_items`; None if a stem has none."""
    return next(filter(is_audio, item.files.values()), None) if isinstance(item, Stem) else item


def _open(arguments: argparse.Namespace) -> Model:
    """Open what the command line names to tag with."""
    models = arguments.model or []
    if models and all(model.suffix == ".safetensors" for model in models):
        return _with_patches(open_models(models), arguments)
    if len(models) > 1:
        raise UserError(
            f"--model is given {len(models)} times, and one is not a .safetensors file; only published networks "
            "can be joined: name one model"
        )
    scorer = open_export(models[0]) if models else _open_folder(arguments.workdir)
    if arguments.all_tags:
        raise UserError("--all_tags is for published networks (--model=FILE.safetensors); leave it out")
    if arguments.gazetteer:
        scorer = scorer.with_gazetteer(arguments.gazetteer)
    if scorer.wants_gazetteer:
        folder = models[0] if models else arguments.workdir
        print_remark(f"{folder} has no gazetteer: entities are not looked up; add --gazetteer")
    return _with_patches(scorer, arguments)


def _open_folder(workdir: Path) -> Scorer | Ensemble:
    """Open a run, or an ensemble of runs."""
    return open_ensemble(workdir) if is_ensemble(workdir) else open_run(workdir)


def _with_patches(scorer: Model, arguments: argparse.Namespace) -> Model:
    """Return a scorer of all of a song's patches if they are asked for."""
    if not arguments.patches:
        return scorer
    if arguments.out and arguments.out.suffix == ".csv":
        raise UserError("a row of a .csv has no place for --patches; give --out=FILE.jsonl, or none")
    if arguments.threshold or arguments.precision is not None:
        raise UserError("--threshold and --precision are for whole songs, not for --patches; leave one of them out")
    if not isinstance(scorer, Scorer) or not scorer.has_patches:
        raise UserError(
            "--patches is for one model that sees the patches of songs, and this is a fusion, of several networks, or "
            "sees no songs; leave it out, or tag with the model of songs alone"
        )
    return scorer.with_covering_patches()


def _choice(arguments: argparse.Namespace, scorer: Model) -> tuple[Choose, Sequence[str]]:
    """Return the choice of a file's genres by its scores, and the names of the run that its rows may have.

    Rows by thresholds have another name: their scores are other numbers.
    """
    n_labels = len(scorer.labels)
    if not arguments.threshold and arguments.precision is None:
        n = min(arguments.top_k or max(TOP_K, arguments.max_genres or 1), n_labels)
        return partial(scorer.best, n=n, all_tags=arguments.all_tags), scorer.names
    if scorer.ranking is not None:
        raise UserError("--threshold and --precision are for runs, whose validation split gives them; leave them out")
    thresholds = open_thresholds(arguments.workdir or arguments.model[0], scorer.labels, arguments.precision)
    return partial(thresholds.best, n=arguments.top_k or n_labels), [f"{one}:{thresholds.kind}" for one in scorer.names]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m mumu_jax.tag", description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "paths",
        nargs="*",
        type=Path,
        metavar="PATH",
        help="songs (or .txt, images or .h5 files, as the run was trained on), or folders of them",
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--workdir", type=Path, metavar="RUN", help="the folder of a finished run")
    which.add_argument(
        "--model",
        type=Path,
        action="append",
        metavar="MODEL",
        help="what mumu_jax.export wrote, or a published network that scripts/pretrained brought (a .safetensors file; "
        "may be given twice: together they know more genres)",
    )
    which.add_argument("--undo", type=Path, metavar="FILE", help="restore the songs of a journal that --write wrote")
    parser.add_argument("--out", type=Path, metavar="FILE", help="a .csv or .jsonl to write or continue; else printed")
    parser.add_argument("--gazetteer", type=Path, metavar="FILE", help="links entities in texts; the run's by default")
    parser.add_argument("--top_k", type=positive, help=f"genres a file (default: {TOP_K}; by thresholds, all above)")
    parser.add_argument(
        "--threshold",
        action="store_true",
        help="give all genres above their thresholds (of the best F1 on validation) or none, with calibrated "
        "probabilities as scores",
    )
    parser.add_argument(
        "--precision",
        type=share,
        metavar="P",
        help="likewise, above the lowest thresholds of this precision on validation, from 0 to 1",
    )
    parser.add_argument(
        "--patches",
        action="store_true",
        help="give the genres over time, too: of each patch of a song, from its first second to its last",
    )
    parser.add_argument(
        "--vectors",
        type=Path,
        metavar="FILE",
        help="a .npz for what the model sees before its output: a vector a file, and the scores of all labels",
    )
    parser.add_argument("--all_tags", action="store_true", help="of published networks: moods, voices, decades, too")
    parser.add_argument("--batch_size", type=positive, default=32, help="items at a time (default: %(default)s)")
    parser.add_argument(
        "--workers", type=positive, default=os.cpu_count(), help="reading processes (default: all cores)"
    )
    add_writing_options(parser)
    return parser


if __name__ == "__main__":
    run_command(main)
