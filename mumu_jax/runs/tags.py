"""The output of tags: a CSV or JSON-lines file that a later call continues, or the terminal."""

import csv
import io
import json
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mumu_jax.errors import UserError
from mumu_jax.system.disk import naming

FIELDS = ("path", "seconds", "genres", "scores", "error", "run")


@dataclass(frozen=True)
class Tags:
    """A song's genres with their scores, best first; none if there was an error."""

    path: Path
    seconds: float
    genres: list[tuple[str, float]]
    error: str = ""


class Terminal:
    """An output that prints each song when it is done."""

    def has(self, path: Path) -> bool:
        return False

    def write(self, tags: Tags) -> None:
        said = ", ".join(f"{genre} {score:.3f}" for genre, score in tags.genres)
        print(f"{tags.path}: {tags.error or said}", flush=True)


class TagFile:
    """A file with a row for each song; rows that an earlier call of the same run wrote count as done."""

    def __init__(self, path: Path, run: str) -> None:
        self._path, self._run = path, run
        self._format = FORMATS[path.suffix]
        content = path.read_bytes() if path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]  # a killed call may have left a line unfinished
        rows = self._format.read(whole.decode("utf-8", "surrogateescape"))
        rest = content[len(whole) :].decode("utf-8", "surrogateescape")
        if rest and not self._format.is_part(rest, is_first=not whole):  # else truncating would lose what is not ours
            raise ValueError("its last line is not a row of tags")
        if other := {row["run"] for row in rows} - {run}:
            raise UserError(f"{path} holds tags of another run ({other.pop()}); give another --out or remove it")
        self._done = {row["path"] for row in rows}
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", encoding="utf-8", errors="surrogateescape", newline="")
        self._file.truncate(len(whole))
        if not whole:
            self._file.write(self._format.header)

    def has(self, path: Path) -> bool:
        return os.path.abspath(path) in self._done

    def write(self, tags: Tags) -> None:
        with naming(self._path):
            self._file.write(self._format.line(tags, self._run))
            self._file.flush()

    def close(self) -> None:
        with naming(self._path):
            self._file.close()


class Csv:
    """path, seconds, genres and scores joined by ';' (as `prepare --source=csv` reads them), error, run."""

    header = ",".join(FIELDS) + "\r\n"

    @staticmethod
    def line(tags: Tags, run: str) -> str:
        genres = ";".join(genre for genre, _ in tags.genres)
        scores = ";".join(f"{score:.6f}" for _, score in tags.genres)
        out = io.StringIO()
        csv.writer(out).writerow((os.path.abspath(tags.path), f"{tags.seconds:.2f}", genres, scores, tags.error, run))
        return out.getvalue()

    @classmethod
    def is_part(cls, rest: str, is_first: bool) -> bool:
        """Return True if a killed call may have left `rest` as the last line."""
        return cls.header.startswith(rest) if is_first else rest[0] in '/"'

    @staticmethod
    def read(text: str) -> list[dict[str, str]]:
        reader = csv.DictReader(io.StringIO(text, newline=""))
        if text and tuple(reader.fieldnames or ()) != FIELDS:
            raise ValueError(f"its columns are not {', '.join(FIELDS)}")
        return list(reader)


class JsonLines:
    """{"path", "seconds", "genres": [{"genre", "score"}, …], "error", "run"}"""

    header = ""

    @staticmethod
    def line(tags: Tags, run: str) -> str:
        genres = [{"genre": genre, "score": round(score, 6)} for genre, score in tags.genres]
        row = {"path": os.path.abspath(tags.path), "seconds": round(tags.seconds, 2), "genres": genres}
        return json.dumps({**row, "error": tags.error or None, "run": run}) + "\n"

    @classmethod
    def is_part(cls, rest: str, is_first: bool) -> bool:
        """Return True if a killed call may have left `rest` as the last line."""
        start = '{"path": "/'
        try:
            return cls._is_row(json.loads(rest))
        except ValueError:
            return rest.startswith(start) or start.startswith(rest)

    @classmethod
    def read(cls, text: str) -> list[dict[str, str]]:
        rows = [json.loads(line) for line in text.splitlines()]
        if not all(map(cls._is_row, rows)):
            raise ValueError("a line is not a row of tags")
        return rows

    @staticmethod
    def _is_row(row: Any) -> bool:
        return isinstance(row, dict) and {*FIELDS} - {"scores"} <= row.keys()


FORMATS = {".csv": Csv, ".jsonl": JsonLines}


@contextmanager
def open_tags(path: Path | None, run: str) -> Iterator[TagFile | Terminal]:
    """Open the output of tags of `run`; raises UserError on a file that is something else."""
    if path is None:
        yield Terminal()
        return
    if path.suffix not in FORMATS:
        raise UserError(f"--out={path} ends in {path.suffix or 'nothing'!r}; give a file that ends in .csv or .jsonl")
    try:
        file = TagFile(path, run)
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path} is not a file of tags ({error}); give another --out") from error
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; give another --out") from error
    with closing(file):
        yield file
