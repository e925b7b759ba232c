"""The output of tags: a CSV or JSON-lines file that a later call continues, or the terminal.

A row is one line of UTF-8 in either format, whatever bytes are in the names of songs.
"""

import csv
import io
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mumu_jax.errors import UserError
from mumu_jax.system.disk import naming
from mumu_jax.system.files import hold, replacing
from mumu_jax.system.lines import print_line, printable, write_name

FIELDS = ("path", "seconds", "genres", "scores", "error", "run")


Genre = tuple[str, float]  # with its score


@dataclass(frozen=True)
class Tags:
    """A song's genres with their scores, best first; none if none is above its threshold, or if there was an error.

    `patches` are the times at which its patches start, each with its own genres; empty unless they are asked for.
    """

    path: Path
    seconds: float
    genres: list[Genre]
    error: str = ""
    patches: list[tuple[float, list[Genre]]] = field(default_factory=list)


class Terminal:
    """An output that prints each song when it is done."""

    path = Path("the terminal")

    def has(self, path: Path) -> bool:
        return False

    def has_error(self, path: Path) -> bool:
        return False

    def genres_of(self, path: Path) -> list[str]:
        return []

    def write(self, tags: Tags) -> None:
        print_line(f"{tags.path}: {tags.error or _in_words(tags.genres) or 'unknown'}")
        for start_s, genres in tags.patches:
            print_line(f"  {start_s:.1f} s: {_in_words(genres)}")


def _in_words(genres: Sequence[Genre]) -> str:
    return ", ".join(f"{genre} {score:.3f}" for genre, score in genres)


class TagFile:
    """A file with a row for each song; rows with tags that an earlier call of the same run wrote count as done.

    A song whose row has an error is tried again: it may have been repaired.  Its new row is added at the end, and takes
    the old one's place when the file is closed, after a kill by the next call.  Raises ValueError on another file.
    """

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        self.path, self._names = path, names
        self._format = FORMATS[path.suffix]
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", encoding="utf-8", newline="")
        try:
            hold(self._file, path, "writing tags to")
            self._rows = self._read_rows()
        except BaseException:
            self._file.close()
            raise

    def _read_rows(self) -> dict[str, dict[str, Any]]:
        """Return the rows of earlier calls by path, of several the last, and leave nothing else in the file."""
        content = self.path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]  # a killed call may have left a line unfinished
        text = whole.decode("utf-8", "surrogateescape")  # earlier versions wrote paths of any bytes
        lines = self._format.read(text)
        rest = content[len(whole) :].decode("utf-8", "surrogateescape")
        if rest and not self._format.is_part(rest, is_first=not whole):  # else truncating would lose what is not ours
            raise ValueError("its last line is not a row of tags")
        if other := {row["run"] for row in lines} - {*self._names}:
            raise UserError(f"{self.path} holds tags of another run ({other.pop()}); give another --out or remove it")
        rows = {printable(row["path"]): {**row, "path": printable(row["path"])} for row in lines}
        self._is_tidy = list(rows.values()) == lines
        self._file.truncate(len(whole))
        if not whole:
            self._file.write(self._format.header)
        return rows

    def has(self, path: Path) -> bool:
        """Return True if the file has tags for the song."""
        return written_path(path) in self._rows and not self.has_error(path)

    def has_error(self, path: Path) -> bool:
        """Return True if an earlier call could not tag the song."""
        row = self._rows.get(written_path(path))
        return row is not None and bool(row["error"])

    def genres_of(self, path: Path) -> list[str]:
        """Return the genres of a song that has tags, best first."""
        genres = self._rows[written_path(path)]["genres"]
        names = genres.split(";") if isinstance(genres, str) else [one["genre"] for one in genres]
        return [name for name in names if name.strip()]

    def write(self, tags: Tags) -> None:
        row = self._format.row(tags, self._names[0])
        with naming(self.path):
            self._file.write(self._format.line(row))
            self._file.flush()
        self._is_tidy &= row["path"] not in self._rows
        self._rows[row["path"]] = row

    def close(self) -> None:
        """Close the file; let it have one row for each song, if some were tried again."""
        with naming(self.path), self._file:
            if not self._is_tidy:
                with replacing(self.path) as temporary:
                    lines = [self._format.header, *map(self._format.line, self._rows.values())]
                    temporary.write_text("".join(lines), encoding="utf-8", newline="")


def written_path(path: Path) -> str:
    """Return a song's absolute path as its row has it."""
    return write_name(os.path.abspath(path))


class Csv:
    """path, seconds, genres and scores joined by ';' (as `prepare --source=csv` reads them), error, run."""

    header = ",".join(FIELDS) + "\r\n"

    @staticmethod
    def row(tags: Tags, run: str) -> dict[str, Any]:
        genres = ";".join(genre for genre, _ in tags.genres)
        scores = ";".join(f"{score:.6f}" for _, score in tags.genres)
        cells = (written_path(tags.path), f"{tags.seconds:.2f}", genres, scores, printable(tags.error), run)
        return dict(zip(FIELDS, cells, strict=True))

    @staticmethod
    def line(row: dict[str, Any]) -> str:
        out = io.StringIO()
        csv.writer(out).writerow(row[name] for name in FIELDS)
        return out.getvalue()

    @classmethod
    def is_part(cls, rest: str, is_first: bool) -> bool:
        """Return True if a killed call may have left `rest` as the last line."""
        return cls.header.startswith(rest) if is_first else rest[0] in '/"'

    @staticmethod
    def read(text: str) -> list[dict[str, Any]]:
        reader = csv.DictReader(io.StringIO(text, newline=""))
        if text and tuple(reader.fieldnames or ()) != FIELDS:
            raise ValueError(f"its columns are not {', '.join(FIELDS)}")
        return list(reader)


class JsonLines:
    """{"path", "seconds", "genres": [{"genre", "score"}, …], "error", "run"}, and with patches, each as the song
    itself, "patches": [{"start_s", "genres"}, …].
    """

    header = ""

    @staticmethod
    def row(tags: Tags, run: str) -> dict[str, Any]:
        genres = JsonLines._genres(tags.genres)
        row = {"path": written_path(tags.path), "seconds": round(tags.seconds, 2), "genres": genres}
        row |= {"error": printable(tags.error) or None, "run": run}
        patches = [{"start_s": round(at, 2), "genres": JsonLines._genres(genres)} for at, genres in tags.patches]
        return row | {"patches": patches} if patches else row

    @staticmethod
    def _genres(genres: Sequence[Genre]) -> list[dict[str, Any]]:
        return [{"genre": genre, "score": round(score, 6)} for genre, score in genres]

    @staticmethod
    def line(row: dict[str, Any]) -> str:
        return json.dumps(row) + "\n"

    @classmethod
    def is_part(cls, rest: str, is_first: bool) -> bool:
        """Return True if a killed call may have left `rest` as the last line."""
        start = '{"path": "/'
        try:
            return cls._is_row(json.loads(rest))
        except ValueError:
            return rest.startswith(start) or start.startswith(rest)

    @classmethod
    def read(cls, text: str) -> list[dict[str, Any]]:
        rows = [json.loads(line) for line in text.splitlines()]
        if not all(map(cls._is_row, rows)):
            raise ValueError("a line is not a row of tags")
        return rows

    @staticmethod
    def _is_row(row: Any) -> bool:
        return isinstance(row, dict) and {*FIELDS} - {"scores"} <= row.keys() and isinstance(row["path"], str)


FORMATS = {".csv": Csv, ".jsonl": JsonLines}


@contextmanager
def open_tags(path: Path | None, names: Sequence[str]) -> Iterator[TagFile | Terminal]:
    """Open the output of tags of the run with these fingerprints; raises UserError on a file that is something else."""
    if path is None:
        yield Terminal()
        return
    if path.suffix not in FORMATS:
        raise UserError(f"--out={path} ends in {path.suffix or 'nothing'!r}; give a file that ends in .csv or .jsonl")
    try:
        file = TagFile(path, names)
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path} is not a file of tags ({error}); give another --out") from error
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; give another --out") from error
    with closing(file):
        yield file
