"""`python -m mumu_jax.report`: pages about runs, ensembles and Table 2, the paper's figures, and genres' words."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import jax

from mumu_jax.config import TextSettings
from mumu_jax.data.manifest import SPLITS
from mumu_jax.data.modalities.text.information_gain import MIN_TEXTS
from mumu_jax.data.store.records import open_prepared, read_description
from mumu_jax.errors import UserError
from mumu_jax.reports.figures import figures_of
from mumu_jax.reports.page import write_page
from mumu_jax.reports.words import draw_words, words_by_genre, write_table
from mumu_jax.system.lines import print_line
from mumu_jax.system.pictures import write_picture
from mumu_jax.system.terminal import positive, run_command

NO_WORD = f"(no word is in {MIN_TEXTS} texts or more, and more often in this genre's than in the others)"


def main(argv: Sequence[str]) -> None:
    """Make the report that the command line names."""
    arguments = _parser().parse_args(argv)
    jax.config.update("jax_platforms", "cpu")  # little to compute, and an accelerator may be busy with a run
    arguments.make(arguments)


def report_run(arguments: argparse.Namespace) -> None:
    """Write the page of a run, of an ensemble, or of the runs of mumu_jax.reproduce."""
    if arguments.workdir is None:
        raise UserError("give the --workdir of a run, or the name of another report; --help lists them")
    out = arguments.out or arguments.workdir / "report.html"
    write_page(out, arguments.workdir, arguments.split)
    print_line(f"written: {out}")


def report_words(arguments: argparse.Namespace) -> None:
    """Print each genre's words; write all of them to words.csv and the most frequent genres' to words.png."""
    settings = TextSettings(**read_description(arguments.data_dir / "text").settings)
    prepared = open_prepared(arguments.data_dir, settings)
    if not len(prepared.split(arguments.split)):
        raise UserError(f"split {arguments.split!r} of {prepared.folder} has no text; choose another --split")
    genres = words_by_genre(prepared, arguments.split, arguments.categories, arguments.top_k)
    width = max(len(genre.name) for genre in genres)
    for genre in genres:
        words = ", ".join(word.word for word in genre.words) or NO_WORD
        print_line(f"{genre.name:<{width}} {genre.n_texts:>7,}  {words}")
    out = arguments.out or arguments.data_dir / "report"
    out.mkdir(parents=True, exist_ok=True)
    write_table(out / "words.csv", genres)
    write_picture(out / "words.png", draw_words(genres), dpi=150)
    print_line(f"written: {out / 'words.csv'}, {out / 'words.png'}")


def report_figures(arguments: argparse.Namespace) -> None:
    """Write the figures as PNG and SVG, and say what they show, or why there is none."""
    drawings = figures_of(arguments.workdir)
    if not any(drawing.figure for drawing in drawings):
        reasons = " ".join(f"{drawing.name}: {drawing.caption}." for drawing in drawings)
        raise UserError(f"no figure can be drawn. {reasons}")
    out = arguments.out or arguments.workdir / "report"
    out.mkdir(parents=True, exist_ok=True)
    for drawing in drawings:
        if drawing.figure is None:
            print_line(f"{drawing.name}: none: {drawing.caption}")
            continue
        paths = [out / f"{drawing.name}.{kind}" for kind in ("png", "svg")]
        for path in paths:
            write_picture(path, drawing.figure)
        print_line(f"{drawing.name}: {drawing.caption}")
        print_line(f"written: {', '.join(map(str, paths))}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m mumu_jax.report", description=__doc__, allow_abbrev=False)
    parser.set_defaults(make=report_run)
    parser.add_argument(
        "--workdir", type=Path, help="the folder of a run, finished or not, of an ensemble, or of mumu_jax.reproduce"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="the page; WORKDIR/report.html by default")
    parser.add_argument("--split", choices=SPLITS, help="the scored split to show; by default test, else val")
    reports = parser.add_subparsers(metavar="REPORT", title="other reports")
    summary = "each genre's words by information gain (Oramas et al. 2017, section 6.2)"
    words = reports.add_parser("words", help=summary, description=summary, allow_abbrev=False)
    words.set_defaults(make=report_words)
    words.add_argument("--data_dir", type=Path, required=True, metavar="OUT", help="the prepared data")
    words.add_argument(
        "--out", type=Path, metavar="DIR", help="the folder for words.csv and words.png; OUT/report by default"
    )
    words.add_argument("--split", choices=SPLITS, default="train")
    words.add_argument("--top_k", type=positive, default=10, help="words a genre (default: %(default)s)")
    words.add_argument("--categories", action="store_true", help="count the categories of named entities as words, too")
    summary = "the paper's figures: t-SNE of album factors, and of image vectors drawn with the covers"
    figures = reports.add_parser("figures", help=summary, description=summary, allow_abbrev=False)
    figures.set_defaults(make=report_figures)
    figures.add_argument("--workdir", type=Path, required=True, help="the folder of a run, or of mumu_jax.reproduce")
    figures.add_argument(
        "--out", type=Path, metavar="DIR", help="the folder for the .png and .svg files; WORKDIR/report by default"
    )
    return parser


if __name__ == "__main__":
    run_command(main)
