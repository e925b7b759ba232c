"""Files as a source finds them on a user's disk: their kinds by name, their order, and how text in them is read."""

import os
import re
import unicodedata
from collections.abc import Collection, Iterator
from pathlib import Path

from mumu_jax.data.manifest import Rejected
from mumu_jax.data.modalities.text.files import read_text
from mumu_jax.data.sources.finding import Finding, Report, stop_at_errors
from mumu_jax.errors import UserError
from mumu_jax.system.lines import print_remark, printable, read_name


def files_below(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Yield every file below `folder` that is not hidden, in code point order.

    Links are followed, but never in a circle.  A link to nothing counts as a file: one that is missing.  A folder below
    that may not be read is left out with a warning: a disk may have a `lost+found`.
    """
    real = folder.resolve()
    if real in above:
        return
    try:
        paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except PermissionError as error:
        if not above:
            raise
        print_remark(f"warning: cannot list {folder}: {error.strerror}; its files are left out")
        return
    for path in paths:
        if path.is_dir():
            yield from files_below(path, (*above, real))
        elif path.is_file() or not path.exists():
            yield path


def genre_of(path: Path, root: Path, content: str) -> str:
    """Return the name of the folder directly below `root` that holds the file.  Raises UserError if it is in none."""
    genre, *below = path.relative_to(root).parts
    if not below:
        raise UserError(
            f"expected {content} in folders named by genre, found {path} in none; "
            "move it into one, or give the folder above as --input"
        )
    return as_id(genre)


def composed(name: str) -> str:
    """Return a name in the Unicode form in which names are compared (NFC): "é" is one character."""
    return unicodedata.normalize("NFC", name)


def clean_name(name: str) -> str:
    """Return a genre's name as one line of composed characters that can be printed, drawn and written anywhere."""
    line = "".join(" " if unicodedata.category(char) in ("Cc", "Zl", "Zp") else char for char in name)
    return printable(" ".join(composed(line).split()))


def in_any_form(path: Path) -> Path:
    """Return the path in the form in which it exists: a spreadsheet and a disk may spell "é" differently.

    The first form is that of names whose bytes are not UTF-8, as `tag --out` writes them.
    """
    name = str(path)
    spellings = (read_name(name), name, *(unicodedata.normalize(form, name) for form in ("NFC", "NFD")))
    forms = list(map(Path, spellings))
    return next((form for form in forms if os.path.exists(form)), path)


_FOREIGN = {  # the beginning of a path that no program on this machine would find, below a folder or not
    "a path of Windows": r"[A-Za-z]:[\\/]|\\\\",
    "an address": r"file:/",
    "a path whose '~' only a shell reads": r"~[^/]*/",
}


def check_paths(paths: Collection[Path]) -> None:
    """Raise UserError if files are missing that are named in a way of another system, or of a shell or a browser."""
    for kind, pattern in _FOREIGN.items():
        beginning = re.compile(rf"(?:^|/)(?:{pattern})")
        names = [(str(path), at) for path in paths if (at := beginning.search(str(path)))]
        # A file or a folder of this machine may be called so, too.
        missing = [(name, at) for name, at in names if not any(map(os.path.exists, (name, name[: at.end()])))]
        foreign = [name[at.start() :].lstrip("/") for name, at in missing]
        if foreign:
            name = foreign[0]
            raise UserError(
                f"expected paths of this machine, found {kind}: {name!r}, one of {len(foreign)}; write /folder/file, "
                "or the path from the folder of the list"
            )


def as_id(name: str) -> str:
    """Return a file's name or path as an id that can be written anywhere, also if its bytes are not UTF-8."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (number, stripped text) of every line that is not blank.  Raises UserError if there is no such file."""
    if not path.is_file():
        raise UserError(f"expected {path}, found none; copy the data set's index/ and splits/ whole")
    # surrogateescape: a file's name need not be UTF-8
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield number, line.strip()


def read_list(path: Path, report: Report = stop_at_errors) -> list[str]:
    """Return the lines of a file, each once; one that is repeated is an error."""
    first_seen: dict[str, int] = {}
    for number, line in numbered_lines(path):
        first = first_seen.setdefault(line, number)
        if first != number:
            found = f"{line!r}, which is already in line {first}"
            remedy = "take one out, with its row or column in y_*"
            report(Finding("error", path, "each line once", found, remedy, number))
    return list(first_seen)


class Texts:
    """A reader of text files that keeps the first `max_chars` characters.

    `rejected` lists the files that cannot be read, as lines for `Collection.rejected`.
    """

    def __init__(self, max_chars: int) -> None:
        self._max_chars = max_chars
        self.rejected: list[dict[str, str | int]] = []

    def read(self, path: Path) -> str | None:
        """Return the text, or None if the file cannot be read."""
        try:
            return read_text(path, self._max_chars)
        except Rejected as why:
            self.rejected.append({"file": str(path), "reason": why.reason, "detail": why.detail})
            return None
