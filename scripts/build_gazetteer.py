"""Build the gazetteer that links entities offline from DBpedia's labels and article categories.

    python scripts/build_gazetteer.py --labels=labels_en.nt.bz2 --categories=article_categories_en.nt.bz2 \\
      --out=gazetteer.jsonl.gz

The files are N-Triples, plain or packed by gzip or bzip2, as databus.dbpedia.org offers them; nothing is downloaded.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from mumu_jax.data.modalities.text.entities import surfaces
from mumu_jax.data.modalities.text.entities.babelfy import entities_named
from mumu_jax.data.modalities.text.entities.dbpedia import Sources, build_gazetteer
from mumu_jax.system.lines import print_line, print_remark
from mumu_jax.system.terminal import run_command


def main(argv: Sequence[str]) -> None:
    arguments = _parser().parse_args(argv)
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
    counts = ", ".join(f"{header[name]:,} {name}" for name in ("entities", "surfaces", "categories"))
    print_line(f"{arguments.out}: {counts}, {arguments.out.stat().st_size / 1e6:,.1f} MB")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python scripts/build_gazetteer.py",
        description=f"{__doc__}\n{surfaces.__doc__}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--labels", type=Path, required=True, help="triples: resource rdfs:label title")
    parser.add_argument("--categories", type=Path, required=True, help="triples: resource dcterms:subject category")
    parser.add_argument("--redirects", type=Path, help="triples: resource dbo:wikiPageRedirects resource; more names")
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
