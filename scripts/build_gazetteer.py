"""Build the gazetteer that links entities offline from DBpedia's labels and article categories, or from genre words.

    python scripts/build_gazetteer.py --labels=labels_en.nt.bz2 --categories=article_categories_en.nt.bz2 \\
      --out=gazetteer.jsonl.gz
    python scripts/build_gazetteer.py --genres=genres-tree.yaml --out=genres.gz

DBpedia's files are N-Triples, plain or packed by gzip or bzip2, as databus.dbpedia.org offers them; nothing is
downloaded.  --genres takes a tree of genres in YAML, as beets has one: its genres are the entities, and a genre and all
above it the categories.  That is not the paper's linker, which finds artists and works, too.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mumu_jax.data.modalities.text.entities import surfaces
from mumu_jax.data.modalities.text.entities.babelfy import entities_named
from mumu_jax.data.modalities.text.entities.dbpedia import Sources, build_gazetteer
from mumu_jax.data.modalities.text.entities.genre_words import build_of_genres
from mumu_jax.data.sources.genre_tree import ancestors, read_tree
from mumu_jax.errors import UserError
from mumu_jax.system.lines import print_line, print_remark
from mumu_jax.system.terminal import run_command


def main(argv: Sequence[str]) -> None:
    arguments = _parser().parse_args(argv)
    if bool(arguments.genres) == bool(arguments.labels and arguments.categories):
        raise UserError("expected --labels and --categories, or --genres alone; give the ones or the other")
    header = _build_of_genres(arguments) if arguments.genres else _build_of_dbpedia(arguments)
    counts = ", ".join(f"{header[name]:,} {name}" for name in ("entities", "surfaces", "categories"))
    print_line(f"{arguments.out}: {counts}, {arguments.out.stat().st_size / 1e6:,.1f} MB")


def _build_of_genres(arguments: argparse.Namespace) -> dict[str, Any]:
    of_dbpedia = [name for name in ("labels", "categories", "redirects", "entities") if getattr(arguments, name)]
    if of_dbpedia:
        raise UserError(f"--{of_dbpedia[0]} is for DBpedia's files, not for --genres; leave it out")
    parents = read_tree(arguments.genres).parents
    above = {genre: ancestors(genre, parents) for genre in parents}
    return build_of_genres(arguments.out, above, arguments.genres)


def _build_of_dbpedia(arguments: argparse.Namespace) -> dict[str, Any]:
    only = None
    if arguments.entities:
        only, unusable = entities_named(arguments.entities)
        for path, error in unusable.items():
            print_remark(f"warning: {path} is skipped: {error}")
    sources = Sources(arguments.labels, arguments.categories, arguments.redirects)
    header = build_gazetteer(arguments.out, sources, arguments.language, only)
    for path, n_malformed in header["malformed"].items():
        if n_malformed:
            print_remark(f"warning: {path}: {n_malformed:,} malformed triples are skipped")
    return header


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python scripts/build_gazetteer.py",
        description=f"{__doc__}\n{surfaces.__doc__}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--labels", type=Path, help="triples: resource rdfs:label title")
    parser.add_argument("--categories", type=Path, help="triples: resource dcterms:subject category")
    parser.add_argument("--redirects", type=Path, help="triples: resource dbo:wikiPageRedirects resource; more names")
    parser.add_argument("--genres", type=Path, metavar="FILE", help="in place of these: a tree of genres in YAML")
    parser.add_argument("--out", type=Path, required=True, help="the gazetteer's file")
    parser.add_argument("--language", default="en", help="language of the labels to read; default en")
    parser.add_argument(
        "--entities",
        type=Path,
        metavar="DIR",
        help="keep only what the linker's files in this folder name",
    )
    return parser


if __name__ == "__main__":
    run_command(main)
