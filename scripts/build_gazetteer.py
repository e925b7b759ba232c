"""Make the gazetteer that links entities offline, of DBpedia's labels and article categories.

    python scripts/build_gazetteer.py --labels=labels_en.nt.bz2 --categories=article_categories_en.nt.bz2 \\
      --out=gazetteer.jsonl.gz

Files are N-Triples, plain or packed by gzip or bzip2, as databus.dbpedia.org has them; nothing is loaded from there.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mumu_jax.data.modalities.text.entities import surfaces
from mumu_jax.data.modalities.text.entities.build import Sources, build_gazetteer, entities_named
from mumu_jax.system.terminal import run_command


def main(argv: Sequence[str]) -> None:
    arguments = _parser().parse_args(argv)
    only = None
    if arguments.entities:
        only, unusable = entities_named(arguments.entities)
        for path, error in unusable.items():
            print(f"warning: {path} is passed over: {error}", file=sys.stderr)
    sources = Sources(arguments.labels, arguments.categories, arguments.redirects)
    built = build_gazetteer(arguments.out, sources, arguments.language, only)
    for path, n_malformed in built["malformed"].items():
        if n_malformed:
            print(f"warning: {path}: {n_malformed:,} malformed lines are passed over", file=sys.stderr)
    counts = ", ".join(f"{built[what]:,} {what}" for what in ("entities", "surfaces", "categories"))
    print(f"{arguments.out}: {counts}, {arguments.out.stat().st_size / 1e6:,.1f} MB")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python scripts/build_gazetteer.py",
        description=f"{__doc__}\n{surfaces.__doc__}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--labels", type=Path, required=True, help="resource rdfs:label title")
    parser.add_argument("--categories", type=Path, required=True, help="resource dcterms:subject category")
    parser.add_argument("--redirects", type=Path, help="resource dbo:wikiPageRedirects resource; further names")
    parser.add_argument("--out", type=Path, required=True, help="the gazetteer, one file")
    parser.add_argument("--language", default="en", help="of the labels to take; default en")
    parser.add_argument("--entities", type=Path, metavar="DIR", help="only what the linker's files in this folder name")
    return parser


if __name__ == "__main__":
    run_command(main)
