"""Tests of the READMEs: their length, their links, and that the commands, experiments and settings in them exist."""

import contextlib
import importlib
import io
import re
from functools import cache
from pathlib import Path

import pytest
from conftest import REPOSITORY

from mumu_jax.config import Config
from mumu_jax.experiments import load_experiments
from mumu_jax.fields import flatten

NAMES = ("README.md", "benchmarks/README.md", "configs/README.md", "mumu_jax/README.md", "mumu_jax/data/README.md")
READMES = [REPOSITORY / name for name in NAMES]
README_LINES = 200
CORE_PATH_LINES = 3680  # 2,500 is the aim, which the path does not keep yet
COMMANDS = (
    *("train", "boost", "ensemble", "evaluate", "tag", "prepare", "build", "doctor", "reproduce", "report", "export"),
)
REPORTS = ("words", "figures")
# Folders of a user's data and runs.
DATA_FOLDERS = {"index/", "splits/", "audio/", "text/", "track/", "album/", "events/", "features/", "logs/"}
each_readme = pytest.mark.parametrize("readme", READMES, ids=NAMES)


def without_code(text: str) -> str:
    """Return Markdown without its code blocks."""
    return re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(readme: Path) -> set[str]:
    """Return the anchors of a README's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", without_code(readme.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def expand(name: str) -> list[str]:
    """Return the names that `audio_{low,high}` stands for."""
    braces = re.search(r"\{([^{}]*)\}", name)
    if braces is None:
        return [name]
    parts = braces[1].split(",")
    return [one for part in parts for one in expand(f"{name[: braces.start()]}{part}{name[braces.end() :]}")]


def test_top_readme_is_short():
    n_lines = len(READMES[0].read_text().splitlines())
    assert n_lines <= README_LINES, f"README.md has {n_lines} lines; move what a newcomer need not read"


@each_readme
def test_links_resolve(readme):
    links = re.findall(r"\]\(([^)\s]+)\)", without_code(readme.read_text()))
    for link in links:
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = readme.parent / name if name else readme
        assert target.exists(), f"{readme} links to {link}"
        if anchor:
            assert anchor in anchors(target), f"{readme} links to {link}; {target} has {sorted(anchors(target))}"
    assert links


def test_top_readme_leads_to_the_others():
    links = re.findall(r"\]\(([^)\s#]+)", READMES[0].read_text())
    assert {*NAMES[1:]} <= {*links}


@each_readme
def test_files_in_backticks_exist(readme):
    """Paths may start at the README's folder, at the repository, or at the package or one of its folders."""
    folders = [readme.parent, REPOSITORY, REPOSITORY / "mumu_jax", *(REPOSITORY / "mumu_jax").rglob("*/")]
    for path in re.findall(r"`([a-z][\w/]*(?:\.py|/))`", without_code(readme.read_text())):
        known = path in DATA_FOLDERS or any((folder / path).exists() for folder in folders)
        assert known, f"{readme} names {path}"


@each_readme
def test_commands_exist(readme):
    for package, command in re.findall(r"python -m (mumu_jax|benchmarks)\.?(\w*)", readme.read_text()):
        module = REPOSITORY / package / f"{command or '__main__'}.py"
        assert module.exists(), f"{readme} has python -m {package}.{command}"
        assert "run_command(main)" in module.read_text()
    for script in re.findall(r"(?:bash|python) (scripts/\w+(?:\.py)?)", readme.read_text()):
        assert (REPOSITORY / script).is_file(), f"{readme} has {script}"


def test_every_command_is_listed():
    assert {*re.findall(r"^\| `mumu_jax\.(\w+)` \|", READMES[0].read_text(), re.MULTILINE)} == {*COMMANDS}


@each_readme
def test_experiments_exist(readme):
    used = re.findall(r"--config=([a-z][\w,]*)", readme.read_text())
    listed = re.findall(
        r"`((?:audio|text|image|covers|fusion|timbre|descriptors)_[\w{},]+)`", without_code(readme.read_text())
    )
    names = [name for one in used for name in one.split(",")] + [name for one in listed for name in expand(one)]
    assert {*names} - load_experiments().keys() == set()


def test_every_experiment_is_listed():
    text = (REPOSITORY / "configs" / "README.md").read_text()
    listed = {name for one in re.findall(r"`([a-z]+_[\w{},]+)`", text) for name in expand(one)}
    bare = {re.sub("_(cosine|logistic|softmax|shares)$", "", name) for name in load_experiments()}
    assert bare <= listed


@each_readme
def test_settings_exist(readme):
    names = {*re.findall(r"--config\.([a-z][\w.]*\w)", readme.read_text())}
    assert names - flatten(Config()).keys() == set()


@cache
def help_of(command: str, *subcommand: str) -> str:
    """Return what `python -m mumu_jax.command --help` prints."""
    main = importlib.import_module(f"mumu_jax.{command}").main
    with contextlib.redirect_stdout(io.StringIO()) as printed, pytest.raises(SystemExit) as ended:
        main([*subcommand, "--help"])
    assert not ended.value.code
    return printed.getvalue()


@pytest.mark.parametrize("command", COMMANDS)
def test_options_exist(command):
    """Every option that a README gives to a command is one that its `--help` has."""
    n_lines = 0
    for readme in READMES:
        text = readme.read_text().replace("\\\n", " ")
        for line in re.findall(rf"python -m mumu_jax\.{command}\b([^`#\n]*)", text):
            n_lines += 1
            words = line.split()
            subcommand = [word for word in words[:1] if command == "report" and word in REPORTS]
            options = re.findall(r"(?<!\S)--([\w.]+)", line)
            for option in options:
                if not option.startswith("config."):
                    known = re.search(rf"--{re.escape(option)}\b", help_of(command, *subcommand))
                    assert known, f"{readme} has mumu_jax.{command}{line}"
    assert n_lines


def test_core_path_is_an_afternoon_s_reading():
    text = (REPOSITORY / "mumu_jax" / "README.md").read_text()
    block = re.search(r"<!-- core path -->\n(.*)<!-- /core path -->", text, re.DOTALL)
    assert block is not None
    lines = block[1].strip().splitlines()
    paths = [re.fullmatch(r"- `(.+)`", line)[1] for line in lines]
    assert len(paths) == len({*paths}) > 10
    sizes = {path: len((REPOSITORY / path).read_text().splitlines()) for path in paths}
    total = sum(sizes.values())
    listed = ", ".join(f"{path} {size}" for path, size in sorted(sizes.items(), key=lambda item: -item[1]))
    assert total <= CORE_PATH_LINES, f"the core path has {total} lines, more than {CORE_PATH_LINES}: {listed}"


def test_docstrings_make_sense_alone():
    """A docstring begins with a verb, or with a noun for a class or module, and never with one of these words."""
    start = re.compile(r'"""(What|Of|Where|How|Those|That|Whether|As) ')
    wrong = [
        f"{path.relative_to(REPOSITORY)}:{number}: {line.strip()}"
        for folder in ("mumu_jax", "configs", "benchmarks", "scripts")
        for path in sorted((REPOSITORY / folder).rglob("*.py"))
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if start.search(line)
    ]
    assert wrong == []
