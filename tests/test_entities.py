"""Tests of entities: linkers' files, DBpedia's N-Triples, and the offline linker and its gazetteer."""

import bz2
import gzip
import json
import re
from pathlib import Path

import pytest
from conftest import REPOSITORY, SHARED, run_python, succeed

from mumu_jax.data.manifest import REASONS, Rejected
from mumu_jax.data.modalities.text.entities import Gazetteer, categories_of, write_gazetteer
from mumu_jax.data.modalities.text.entities.babelfy import entities_named, read_linked, read_mentions
from mumu_jax.data.modalities.text.entities.dbpedia import Sources, Triples, build_gazetteer, resource_name
from mumu_jax.data.modalities.text.entities.linker import Mention, outermost
from mumu_jax.data.modalities.text.entities.surfaces import candidate, fold
from mumu_jax.data.sources.synthetic.reviews import GAZETTEER
from mumu_jax.errors import UserError

ELVIS = SHARED / "elvis"
needs_elvis = pytest.mark.skipif(not ELVIS.is_dir(), reason=f"no linker's real files in {ELVIS}")

RESOURCE, LABEL = "http://dbpedia.org/resource/", "http://www.w3.org/2000/01/rdf-schema#label"
SUBJECT, REDIRECTS = "http://purl.org/dc/terms/subject", "http://dbpedia.org/ontology/wikiPageRedirects"


def subject(name: str, *categories: str) -> list[str]:
    return [f"<{RESOURCE}{name}> <{SUBJECT}> <{RESOURCE}Category:{category}> ." for category in categories]


def label(name: str, title: str, language: str = "en") -> str:
    return f'<{RESOURCE}{name}> <{LABEL}> "{title}"@{language} .'


def redirect(alias: str, name: str) -> str:
    return f"<{RESOURCE}{alias}> <{REDIRECTS}> <{RESOURCE}{name}> ."


def write(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def many(what: str, count: int) -> list[str]:
    return [f"{what}_{i}" for i in range(count)]


# A linker's files


@needs_elvis
@pytest.mark.parametrize("name", ["Adele", "Bob_Dylan", "Paco_de_Lucía"])
def test_elvis_offsets_are_in_the_text(name):
    """Both ways to write `endChar` are read, over several sentences, with non-ASCII letters."""
    text = (ELVIS / "texts" / "example" / f"{name}.txt").read_text(encoding="utf-8")
    inclusive = read_mentions(ELVIS / "babelfy_example" / f"{name}.json")
    exclusive = read_mentions(ELVIS / "babelfy_example_h" / f"{name}.json")
    assert [one._replace(categories=None) for one in exclusive] == inclusive
    assert all(one.categories for one in exclusive)
    sentences = json.loads((ELVIS / "babelfy_example" / f"{name}.json").read_bytes())
    labels = [one["label"] for sentence in sentences for one in sentence["entities"] if one["uri"]]
    assert [text[one.start : one.end] for one in inclusive] == labels


@needs_elvis
def test_elvis_categories():
    found = read_linked(ELVIS / "babelfy_example_h" / "Paco_de_Lucía.json")
    assert "Spanish_flamenco_guitarists" in found
    assert "Cocaine" not in found  # of Paco, inside of Paco de Lucía
    table = {"Paco_de_Lucía": ("Spanish_flamenco_guitarists", "1947_births"), "Cocaine_paste": ("Cocaine",)}
    assert read_linked(ELVIS / "babelfy_example" / "Paco_de_Lucía.json", table)[:2] == table["Paco_de_Lucía"]
    assert read_linked(ELVIS / "babelfy_example" / "Paco_de_Lucía.json") == ()  # it has none, and no table is given


@needs_elvis
def test_only_what_begins_in_the_text_counts():
    path = ELVIS / "babelfy_example_h" / "Adele.json"
    first = read_linked(path, None, 1)
    assert first[0] == "Adele_(singer)"
    assert first.count("1988_births") == 1
    assert read_linked(path, None, 0) == ()
    text = (ELVIS / "texts" / "example" / "Adele.txt").read_text(encoding="utf-8")
    second = text.index("Graduating")
    assert first == read_linked(path, None, 2) != read_linked(path, None, second) != read_linked(path)
    assert categories_of(text[:second], path, None) == read_linked(path, None, second)


@needs_elvis
def test_raw_babelfy():
    path = ELVIS / "babelfy_raw_official_demo.json"
    text = "BabelNet is both a multilingual encyclopedic dictionary and a semantic network"
    names = ["BabelNet", "Multilingualism", "Encyclopedic_dictionary", "Dictionary", "Semantic_network"]
    mentions = read_mentions(path)
    assert [one.entity for one in mentions] == names
    written = ["BabelNet", "multilingual", "encyclopedic dictionary", "dictionary", "semantic network"]
    assert [text[one.start : one.end] for one in mentions] == written
    table = {name: (f"about_{name}", "all") for name in names if name != "Multilingualism"}
    expected = ["about_BabelNet", "all", "about_Encyclopedic_dictionary", "all", "about_Semantic_network", "all"]
    assert list(read_linked(path, table)) == expected
    assert read_linked(path, table, 32) == ("about_BabelNet", "all")


def test_of_nested_and_overlapping_fragments_the_longest_counts():
    def mentions(*spans):
        return [Mention(start, end, name, score) for name, start, end, score in spans]

    def kept(*spans):
        return [one.entity for one in outermost(mentions(*spans))]

    assert kept(("inner", 4, 9, 1.0), ("outer", 0, 9, 0.1), ("after", 9, 10, 0.0)) == ["outer", "after"]
    assert kept(("left", 0, 5, 1.0), ("long", 4, 12, 0.1), ("right", 11, 14, 1.0)) == ["long"]
    assert kept(("low", 0, 5, 0.1), ("high", 3, 8, 0.9)) == ["high"]
    assert kept(("first", 0, 5, 0.5), ("second", 0, 5, 0.5)) == ["first"]
    assert kept(("b", 6, 8, 0.5), ("a", 0, 5, 0.5)) == ["a", "b"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[{",
        b"\xff\xfe[]",
        b'{"message": "quota"}',
        b"[1]",
        b"[{}]",
        b'[{"charFragment": {}, "DBpediaURL": ""}, 3]',
        b'[{"text": "a", "entities": 5}]',
        b'[{"text": "a", "entities": [{"uri": "http://dbpedia.org/resource/X"}]}]',
        b'[{"charFragment":{"start":"x","end":2},"DBpediaURL":"http://dbpedia.org/resource/X","score":1}]',
        b'[{"charFragment":{"start":1,"end":2},"DBpediaURL":"http://dbpedia.org/resource/\\\\uD83C","score":1}]',
        b'[{"charFragment":{"start":1e999,"end":2},"DBpediaURL":"http://dbpedia.org/resource/X","score":1}]',
        b"[" * 5000,
    ],
)
def test_malformed_linker_files(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(Rejected) as caught:
        categories_of("text", tmp_path / "a.json", None)
    assert caught.value.reason == "malformed"
    assert caught.value.reason in REASONS
    assert re.fullmatch(r".*expected.{,240}", caught.value.detail)


def test_linker_file_that_is_not_there_or_empty(tmp_path):
    with pytest.raises(Rejected, match="missing"):
        read_linked(tmp_path / "a.json")
    (tmp_path / "a.json").write_text("[]")
    assert read_linked(tmp_path / "a.json") == ()


def test_resource_names():
    assert resource_name("http://dbpedia.org/resource/Beyonc%C3%A9") == "Beyoncé"
    assert resource_name("http://de.dbpedia.org/resource/AC/DC") == "AC/DC"
    assert resource_name("") is resource_name("http://dbpedia.org/ontology/Band") is None
    with pytest.raises(ValueError, match="utf-8"):
        resource_name("http://dbpedia.org/resource/Beyonc%E9")


@pytest.mark.parametrize(
    ("address", "entity"),
    [
        ("http://dbpedia.org/resource/Blowin\\u0027_in_the_Wind", "Blowin'_in_the_Wind"),
        ("http://dbpedia.org/resource/\\uD83C\\uDFB5_\\U0001F3B5", "🎵_🎵"),
    ],
)
def test_escapes_in_babelnets_addresses(tmp_path, address, entity):
    fragment = {"charFragment": {"start": 0, "end": 4}, "score": 1, "DBpediaURL": address}
    (tmp_path / "a.json").write_text(json.dumps([fragment]))
    assert [one.entity for one in read_mentions(tmp_path / "a.json")] == [entity]


# N-Triples

TRIPLES = [
    "# started 2016-10-01",
    "",
    *subject("Beyonc%C3%A9", "American_women", "R&B_singers"),
    *subject("Bj\\u00F6rk", "Icelandic_singers"),
    f"<{RESOURCE}A>\t<{SUBJECT}>  <{RESOURCE}Category:B>.",
    f"#<{RESOURCE}A> <{SUBJECT}> <{RESOURCE}Category:B> .",
    f"<{RESOURCE}A> <http://other/predicate> nonsense",
    f"<{RESOURCE}A> <{SUBJECT}> <{RESOURCE}Category:B>",  # no dot
    f"<{RESOURCE}A> <{SUBJECT}>",
    f"{RESOURCE}A <{SUBJECT}> <{RESOURCE}Category:B> .",
    f'<{RESOURCE}A> <{SUBJECT}> "B"@en .',
    f"<{RESOURCE}Beyonc%E9> <{SUBJECT}> <{RESOURCE}Category:B> .",
    f"<http://example.org/A> <{SUBJECT}> <{RESOURCE}Category:B> .",
]
PAIRS = [("Beyoncé", "American_women"), ("Beyoncé", "R&B_singers"), ("Björk", "Icelandic_singers"), ("A", "B")]


@pytest.mark.parametrize("pack", [lambda data: data, gzip.compress, bz2.compress])
def test_categories_of_triples(tmp_path, pack):
    content = "\n".join(TRIPLES).encode() + b"\n\xff\xfe\n"
    (tmp_path / "articles").write_bytes(pack(content))
    triples = Triples(tmp_path / "articles")
    for _ in range(2):
        assert list(triples.categories()) == PAIRS
        assert triples.n_malformed == 8
    assert list(triples.redirects()) == []


def test_labels_of_triples(tmp_path):
    lines = [
        label("A", 'a \\"quoted\\" \\\\ \\u00e9\\U0001F3B5 \\uD83C\\uDFB5.'),
        label("B", "Die B", "de"),
        label("C", "no such escape: \\x"),
        label("C", "half a character: \\uD83C"),
        f"<{RESOURCE}C> <{LABEL}> <{RESOURCE}C> .",
        label("D", 'a quote " inside'),
        label("E", ""),
    ]
    triples = Triples(write(tmp_path / "labels.nt", lines))
    assert list(triples.labels("en")) == [("A", 'a "quoted" \\ é🎵 🎵.'), ("E", "")]
    assert triples.n_malformed == 4
    assert list(triples.labels("de")) == [("B", "Die B")]


def test_a_malformed_line_is_skipped_alone(tmp_path):
    good = [label(f"R{i}", f"title {i}") for i in range(2_000)]
    lines = list(good)
    malformed = {
        **{5: "nonsense", 400: f'<{RESOURCE}X> <{LABEL}> "never closed', 401: f'<{RESOURCE}X> <{LABEL}> "no dot"@en'},
        **{900: f"<{RESOURCE}X> <{LABEL}>", 901: f"<{RESOURCE}X> is {RESOURCE}Y .", 1999: '"'},
    }
    for i, line in malformed.items():
        lines[i] = line
    triples = Triples(write(tmp_path / "labels.nt", lines))
    assert [name for name, _ in triples.labels("en")] == [f"R{i}" for i in range(2_000) if i not in malformed]
    assert triples.n_malformed == len(malformed)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
def test_packed_triples_that_are_cut_or_damaged(tmp_path, pack):
    packed = bytearray(pack("\n".join(TRIPLES).encode() * 100))
    for damaged in (packed[: len(packed) // 2], packed[:20] + b"damaged" + packed[27:]):
        (tmp_path / "a.bz2").write_bytes(damaged)
        with pytest.raises(UserError, match=r"a\.bz2 is damaged or incomplete"):
            list(Triples(tmp_path / "a.bz2").categories())
    with pytest.raises(UserError, match=r"cannot read .*none: No such file"):
        list(Triples(tmp_path / "none").categories())


# Which surface forms count

TITLES = {
    **{"Queen (band)": "Queen", "AC/DC": "AC/DC", "Björk": "Björk", "2Pac": "2Pac", "R.E.M.": "R.E.M."},
    **{"The Who": None, "Them (band)": None, "U2": None, "1999 (Prince album)": None, "A " * 12 + "song": None},
}


@pytest.mark.parametrize("title", TITLES)
def test_surface_forms(title):
    found = candidate(title, "X")
    assert (found and found.surface) == TITLES[title]
    assert found is None or found.exact == (found.surface == title)


def test_folding_keeps_every_place():
    everything = "".join(map(chr, range(0x110000)))
    assert len(fold(everything)) == len(everything)
    assert fold(everything).encode()


def built(folder: Path, labels: list[str], categories: list[str], redirects: list[str] | None = None) -> Gazetteer:
    folder.mkdir(exist_ok=True)
    sources = Sources(write(folder / "labels.nt", labels), write(folder / "categories.nt", categories))
    if redirects:
        sources = sources._replace(redirects=write(folder / "redirects.nt", redirects))
    build_gazetteer(folder / "gazetteer.gz", sources, "en")
    return Gazetteer.load(folder / "gazetteer.gz")


def linked(gazetteer: Gazetteer, text: str) -> list[tuple[str, str]]:
    return [(text[one.start : one.end], one.entity) for one in gazetteer.link(text)]


def test_ambiguous_surface_forms(tmp_path):
    pages = {
        **{"Prince": many("titles", 3), "Prince_(musician)": many("American_singers", 6)},  # far more is known
        **{"Boston": many("cities", 3), "Boston_(band)": many("bands", 5)},  # not that much more
        **{"Amazing_(Kanye_song)": many("songs", 3), "Amazing_(Aerosmith_song)": many("songs", 4)},  # neither is plain
        **{"Genesis_(band)": many("rock_music_groups", 4), "Genesis_(rocket)": many("rockets", 50)},  # not about music
        **{"Rocket_(fireworks)": many("fireworks", 3)},
        **{"Nirvana_(disambiguation)": many("bands", 3), "List_of_bands": ["bands"], "Category:Rap": ["music"]},
    }
    labels = [label(name, name.replace("_", " ")) for name in (*pages, "Without_categories")]
    categories = [line for name, own in pages.items() for line in subject(name, *own)]
    found = built(tmp_path, labels, categories)
    text = "Prince, Boston, Amazing, Genesis, Rocket, Nirvana, List of bands, Category:Rap, Without categories"
    assert linked(found, text) == [
        ("Prince", "Prince_(musician)"),
        ("Boston", "Boston"),
        ("Genesis", "Genesis_(band)"),
    ]
    assert set(found.categories) == {name for name in pages if not name.startswith(("Nirv", "List", "Category"))}


def test_redirects_are_further_names(tmp_path):
    labels = [label("Bob_Dylan", "Bob Dylan")]
    redirects = [redirect("Robert_Zimmerman", "Bob_Dylan"), redirect("List_of_Bobs", "Bob_Dylan")]
    found = built(tmp_path, labels, subject("Bob_Dylan", "singers"), [*redirects, redirect("Bob", "Unknown")])
    assert linked(found, "Robert Zimmerman or Bob or List of Bobs") == [("Robert Zimmerman", "Bob_Dylan")]


# Linking


@pytest.fixture(scope="module")
def names(tmp_path_factory) -> Gazetteer:
    forms = "King Crimson|King|Crimson King|Rock|Rock Opera|Art|The Beatles"
    forms += "|Queen|Queen Live|Live Queen|Björk|Sigur Rós|AC/DC|Guns N' Roses|İzmir|Panic!"
    surfaces = {form: form for form in forms.split("|")}
    path = tmp_path_factory.mktemp("gazetteer") / "names.gz"
    write_gazetteer(path, surfaces, {form: ("Of " + form, "all") for form in surfaces})
    return Gazetteer.load(path)


TEXTS = {
    "In the Court of the Crimson King, by King Crimson": ["Crimson King", "King Crimson"],
    "King Crimson King": ["King Crimson", "King"],  # from left to right
    "Kings, Kingdom, Smart Rocker, Art_": [],  # whole words
    "Smart Rock Operas, Art-Rock, Rock Opera's": ["Rock", "Art", "Rock", "Rock Opera"],
    "rock, king, ROCK": ["ROCK"],
    "Queen live, live Queen, Queen Live, rock Opera": ["Queen", "Queen", "Queen Live"],
    "king Crimson King, crimson King Crimson": ["Crimson King", "King Crimson"],
    "the Beatles, THE BEATLES, The beatles": ["the Beatles", "THE BEATLES"],
    "🎵🎵 Björk – Sigur Rós; ÉBjörk": ["Björk", "Sigur Rós"],
    "İİİ İzmir\nKing\tCrimson\0Rock": ["İzmir", "King\tCrimson", "Rock"],
    "AC/DC and AC DC, Guns N’ Roses. Panic! at": ["AC/DC", "Guns N’ Roses", "Panic!"],
    "half a character: \ud83c King": ["King"],
    "": [],
}


@pytest.mark.parametrize("text", TEXTS)
def test_names_in_a_text(names, text):
    assert [text[one.start : one.end] for one in names.link(text)] == TEXTS[text]


def test_categories_of_a_text(names, tmp_path):
    path = tmp_path / "g.gz"
    write_gazetteer(path, {name: name for name in GAZETTEER}, GAZETTEER)
    name, categories = next(iter(GAZETTEER.items()))
    expected = tuple(category.replace(" ", "_") for category in categories)
    assert categories_of(f"As {name} did. {name}!", None, path) == expected * 2
    assert categories_of(f"As {name} did.", None, None) == categories_of("", None, path) == ()
    fragment = {"charFragment": {"start": 3, "end": 5}, "score": 0.5}
    fragment["DBpediaURL"] = f"http://dbpedia.org/resource/{name.replace(' ', '_')}"
    (tmp_path / "linked.json").write_text(json.dumps([fragment]))
    assert categories_of("As he did", tmp_path / "linked.json", path) == expected


def test_gazetteer_that_is_only_a_table(tmp_path):
    write_gazetteer(tmp_path / "g.gz", {}, {"King Crimson": ["English bands"]})
    found = Gazetteer.load(tmp_path / "g.gz")
    assert found.categories == {"King_Crimson": ("English_bands",)}
    assert found.link("King Crimson") == []


def test_files_that_are_no_gazetteer(tmp_path):
    path = tmp_path / "g.gz"
    write_gazetteer(path, {"King": "King"}, {"King": ["kings"]})
    whole = path.read_bytes()
    other = gzip.compress(gzip.decompress(whole).replace(b'"version": 1', b'"version": 2'))
    short = gzip.compress(gzip.decompress(whole).rpartition(b"[")[0])
    for content in (whole[:-9], b"King", gzip.compress(b"[]\n"), gzip.compress(b"{}\n"), other, short, b""):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"g\.gz is not a complete gazetteer .*scripts/build_gazetteer\.py"):
            Gazetteer.load(path)
    with pytest.raises(UserError, match=r"the gazetteer .* does not exist; .*scripts/build_gazetteer\.py"):
        Gazetteer.load(tmp_path / "none.gz")


# The command

SCRIPT = REPOSITORY / "scripts" / "build_gazetteer.py"


@pytest.fixture
def sources(tmp_path) -> list[str]:
    labels = [label("Bob_Dylan", "Bob Dylan"), label("Adele", "Adele"), "nonsense"]
    categories = [*subject("Bob_Dylan", "singers"), *subject("Adele", "English_singers", "1988_births")]
    (tmp_path / "labels.nt.bz2").write_bytes(bz2.compress("\n".join(labels).encode()))
    (tmp_path / "categories.nt.gz").write_bytes(gzip.compress("\n".join(categories).encode()))
    return [f"--labels={tmp_path / 'labels.nt.bz2'}", f"--categories={tmp_path / 'categories.nt.gz'}"]


def test_command_makes_the_same_bytes_each_time(tmp_path, sources):
    for name in ("a.gz", "b.gz"):
        done = run_python(SCRIPT, *sources, f"--out={tmp_path / name}")
        assert done.returncode == 0, done.stderr
    assert "b.gz: 2 entities, 2 surfaces, 3 categories, 0.0 MB" in done.stdout
    assert done.stderr.strip() == f"warning: {tmp_path / 'labels.nt.bz2'}: 1 malformed triples are skipped"
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()
    header = json.loads(gzip.decompress((tmp_path / "a.gz").read_bytes()).splitlines()[0])
    assert [one["name"] for one in header["sources"]] == ["labels.nt.bz2", "categories.nt.gz"]
    assert categories_of("Hello Adele", None, tmp_path / "a.gz") == ("English_singers", "1988_births")


def test_command_takes_only_what_the_files_name(tmp_path, sources):
    (tmp_path / "linked").mkdir()
    fragment = {"charFragment": {"start": 0, "end": 4}, "score": 1, "DBpediaURL": f"{RESOURCE}Adele"}
    (tmp_path / "linked" / "a.json").write_text(json.dumps([fragment]))
    (tmp_path / "linked" / "b.json").write_text("nonsense")
    done = run_python(SCRIPT, *sources, f"--out={tmp_path / 'g.gz'}", f"--entities={tmp_path / 'linked'}")
    assert done.returncode == 0, done.stderr
    assert "1 entities, 1 surfaces, 2 categories" in done.stdout
    assert "b.json is skipped: malformed: expected JSON" in done.stderr
    assert set(Gazetteer.load(tmp_path / "g.gz").categories) == {"Adele"}
    with pytest.raises(UserError, match="names an entity"):
        entities_named(tmp_path / "none")


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("--labels=none.nt", "cannot read none.nt: No such file"),
        ("--language=de", "has both a category in"),
        ("--out=.", "is a folder"),
    ],
)
def test_command_complains_in_one_line(tmp_path, sources, wrong, says):
    done = run_python(SCRIPT, *sources, f"--out={tmp_path / 'g.gz'}", wrong)
    assert done.returncode == 2
    assert re.fullmatch(f"error: .*{re.escape(says)}.*\n", done.stderr)
    assert not (tmp_path / "g.gz").exists()


def test_help_states_the_rule():
    done = run_python(SCRIPT, "--help")
    for fragment in ("stop words", "Queen (band)", "12 words", "with a capital", "--redirects"):
        assert fragment in done.stdout


def test_benchmark():
    done = succeed("benchmarks.linking", "--names=500", "--texts=5", "--repeats=1", "--seconds=0.01", "--no_save")
    rate, number = r"[\d,.]+ \([\d,.]+–[\d,.]+\)", r"[\d,.]+"
    assert re.search(r"config +mode +examples/s +s +MB/s +names a text +peak MB", done.stdout)
    for row in (f"build +{rate} +{number} +– +– +{number}", f"load +{rate} +{number} +– +– +{number}"):
        assert re.search(row, done.stdout)
    assert re.search(rf"link +{rate} +– +{number} +{number} +{number}", done.stdout)
