"""A spreadsheet saved as CSV: a row for each track with `path` or `id`, `genres`, and optional columns."""

import csv
import io
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten

from mumu_jax.data.manifest import SPLITS, Album, Track, labels_of
from mumu_jax.data.modalities.lyrics.files import SUFFIXES, is_lyrics
from mumu_jax.data.modalities.suffixes import is_audio
from mumu_jax.data.sources.base import Collection, Request, Source
from mumu_jax.data.sources.files import Texts, composed, files_below, in_any_form
from mumu_jax.data.sources.joined import OTHER_MARKS, find_joined, parts
from mumu_jax.errors import UserError, nearest

COLUMNS = ("path", "id", "genres", "album", "artist", "text", "lyrics", "cover", "split")
OTHER_NAMES = {"file": "path", "filename": "path", "genre": "genres", "review": "text", "reviews": "text"}
OF_TAGS = {"scores", "run"}  # columns of a file that `tag` wrote
DELIMITERS = (",", ";", "\t")
LYRICS_SHOWN = 40  # characters of lyrics in an error
MOST_ZEROS = 12  # that a spreadsheet may have taken from an id


@dataclass(frozen=True)
class Row:
    """One row: its place (`file:row`, as a spreadsheet counts rows), and its stripped cells by column."""

    where: str
    cells: Mapping[str, str]

    def __getitem__(self, column: str) -> str:
        return self.cells.get(column, "")


def read(path: Path, request: Request) -> Collection:
    """Return the albums of a CSV file (UTF-8; separated by commas, semicolons or tabs).

    A row's `path` is relative to the file's folder; a row without one means the audio file below that folder whose
    name without extension is its `id`.  Rows with the same `artist` and `album` form one album with all their genres
    and texts and the first cover; a row without `album` is an album of its own, and one with `album` alone has no
    track.  `text` is the text itself or the name of a .txt file, `lyrics` the name of a text file or of a song.  Raises
    UserError, naming the row, if a row is not like that, and on a column whose name is nearly one of these; other
    columns are named in a note.
    """
    rows, notes = _read_rows(path)
    notes += _check_separators(rows)
    by_stem = _audio_by_stem(path.parent) if any(row["id"] and not row["path"] for row in rows) else {}
    texts = Texts(request.max_chars)
    members: dict[tuple[str, str], list[tuple[Row, Track | None]]] = defaultdict(list)
    first_seen: dict[Path | str, str] = {}
    for row in rows:
        track = _track(row, path.parent, by_stem)
        if track:
            _check_new(track, row, first_seen)
        artist, album = (row["artist"], row["album"]) if row["album"] else ("", track.track_id if track else "")
        members[composed(artist), composed(album)].append((row, track))
    n_artists = Counter(album for _, album in members)
    albums = []
    for (artist, album), pairs in members.items():
        album_id = f"{artist} / {album}" if artist and n_artists[album] > 1 else album
        albums.append(_album(album_id, pairs, path.parent, texts))
    notes += _notes_of_mixed_albums(members)
    return Collection(albums, labels_of(albums), texts.rejected, notes)


def _notes_of_mixed_albums(members: Mapping[tuple[str, str], list[tuple[Row, Track | None]]]) -> list[str]:
    """Return a note if rows of one album, of no named artist, have no genre in common: they may be several albums."""
    mixed = [
        (album, first, row)
        for (artist, album), [(first, _), *others] in members.items()
        for row, _ in others[:1]
        if not artist and not {*_genres(first)} & {*_genres(row)}
    ]
    if not mixed:
        return []
    album, first, row = mixed[0]
    return [
        f"{len(mixed):,} albums join rows without a common genre (first: {album!r} in {first.where} and {row.where}); "
        "if they are several, name them apart in a column 'artist'"
    ]


def _check_new(track: Track, row: Row, first_seen: dict[Path | str, str]) -> None:
    for key in (track.audio, track.track_id):
        if key in first_seen:
            raise UserError(f"{row.where}: '{key}' is already in {first_seen[key]}; keep one of the rows")
        first_seen[key] = row.where


def _read_rows(path: Path) -> tuple[list[Row], list[str]]:
    """Return the rows below the header that are not empty, and a note on the columns that are not read."""
    header, *body = _read_cells(path)
    header = [name.lower() for name in header]
    unread = _check_header(header, f"{path}:1")
    rows = []
    for number, values in enumerate(body, 2):
        if any(values[len(header) :]):
            raise UserError(
                f"{path}:{number}: expected {len(header)} cells as in the header, found {len(values)}; "
                "join genres by ';', and put any other cell that contains the columns' separator in double quotes"
            )
        if any(values):
            rows.append(Row(f"{path}:{number}", dict(zip(header, values, strict=False))))
    return rows, [f"columns that are not read: {', '.join(unread)}"] if unread else []


def _read_cells(path: Path) -> list[list[str]]:
    """Return the stripped cells of every row; at least one row."""
    if not path.is_file():
        raise UserError(f"expected a CSV file, found a folder: {path}; give the file in it")
    try:
        lines = io.StringIO(path.read_text(encoding="utf-8-sig")).readlines() or ["\n"]
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: expected UTF-8, found {error}; save the table as 'CSV UTF-8'") from error
    if lines[0].strip(' "\n').lower().startswith("sep="):
        raise UserError(
            f"{path}:1: expected the columns' names, found {lines[0].strip()!r}, which only Excel reads; "
            "take that line out"
        )
    # an album's reviews may be longer than the default limit
    csv.field_size_limit(max(csv.field_size_limit(), sum(map(len, lines))))
    rows = []
    try:
        # strict: else a quote that is never closed would swallow the rest of the table
        reader = csv.reader(lines, delimiter=_delimiter(lines[0]), strict=True, skipinitialspace=True)
        for values in reader:
            rows.append([value.strip() for value in values])
    except csv.Error as error:
        where = f"{path}:{len(rows) + 1}"
        raise UserError(f"{where}: expected CSV, found {error}; check the double quotes") from error
    return rows


def _delimiter(first_line: str) -> str:
    """Return the delimiter that gives the first line the most known names."""

    def n_known(delimiter: str) -> int:
        names = next(csv.reader([first_line], delimiter=delimiter), [])
        return len({name.strip().lower() for name in names} & {*COLUMNS})

    return max(DELIMITERS, key=n_known)


def _check_header(header: list[str], where: str) -> list[str]:
    """Return the columns that are not read; raises UserError on a header that cannot be what the user meant."""
    repeated = sorted({name for name in header if name and header.count(name) > 1})
    if repeated:
        raise UserError(f"{where}: expected each column once, found {repeated[0]!r} twice; rename one")
    if "genres" not in header or not {"path", "id", "album"} & {*header}:
        found = ", ".join(map(repr, header)) or "none"
        raise UserError(
            f"{where}: expected the columns 'genres' and 'path', 'id' or 'album', found {found}; "
            "name them in the first row"
        )
    if {*header} >= OF_TAGS:
        raise UserError(
            f"{where}: the genres are a model's guesses, the best of them right or not, as `tag` wrote them; "
            "correct them in every row, then take out the column 'scores'"
        )
    unread = [name for name in header if name and name not in COLUMNS]
    for name in unread:
        near = OTHER_NAMES.get(name) or nearest(name, COLUMNS)
        if near:
            raise UserError(f"{where}: unknown column {name!r}; did you mean {near!r}? Rename it, or take it out")
    return unread


def _check_separators(rows: Sequence[Row]) -> list[str]:
    """Raise UserError if genres seem to be joined by something else than ';': the parts repeat, the cells do not.

    Returns a note if that is so of some genres only.
    """
    cells = {row["genres"] for row in rows}
    joined = {mark: [row for row in rows if mark in row["genres"]] for mark in OTHER_MARKS}
    marks = "".join(mark for mark, of_mark in joined.items() if of_mark)
    if not marks:
        return []
    any_mark = f"[{marks}]"
    if not any(";" in cell for cell in cells) and any(
        len({part for cell in cells for part in parts(cell, pattern)}) < len(cells)
        for pattern in (*map(re.escape, marks), any_mark)
    ):
        first = next(row for row in rows if re.search(any_mark, row["genres"]))
        ways = (f"by {mark!r} in {len(joined[mark])} rows: {joined[mark][0]['genres']!r}" for mark in marks)
        raise UserError(
            f"{first.where}: expected genres joined by ';', found them joined {', '.join(ways)}; "
            "replace what joins genres by ';'"
        )
    several = [*find_joined({genre for cell in cells for genre in parts(cell)})]
    return [f"{len(several):,} genres seem to be several, not joined by ';' (first: {several[0]!r})"] if several else []


def _audio_by_stem(folder: Path) -> dict[str, list[Path]]:
    by_stem = defaultdict(list)
    for path in filter(is_audio, files_below(folder)):
        by_stem[composed(path.stem)].append(path)
    return by_stem


def _track(row: Row, folder: Path, by_stem: Mapping[str, list[Path]]) -> Track | None:
    """Return the row's track, or None if it names an album alone.

    An id that no file has keeps a path that does not exist, to be counted as missing.
    """
    lyrics = _lyrics(row, folder)
    if row["path"]:
        return Track(row["id"] or row["path"], in_any_form(folder / row["path"]), lyrics=lyrics)
    if not row["id"] and row["album"]:
        if lyrics:
            raise UserError(f"{row.where}: expected lyrics of a song, found a row without; fill in its path or its id")
        return None
    if not row["id"]:
        raise UserError(f"{row.where}: expected a path or an id, found neither; fill one in")
    files = by_stem.get(composed(row["id"]), [])
    with_zeros = ("0" * n + row["id"] for n in range(1, MOST_ZEROS + 1))
    padded = [] if files else [stem for stem in with_zeros if stem in by_stem]
    if padded:
        raise UserError(
            f"{row.where}: expected an audio file named {row['id']!r}, found {by_stem[padded[0]][0]}; a spreadsheet "
            "takes zeros from numbers: format the column 'id' as text, and fill it in again"
        )
    if len(files) > 1:
        raise UserError(
            f"{row.where}: expected one audio file named {row['id']!r}, found {files[0]} and {files[1]}; "
            "say which in a column 'path'"
        )
    return Track(row["id"], files[0] if files else folder / row["id"], lyrics=lyrics)


def _lyrics(row: Row, folder: Path) -> Path | None:
    """Return the file that the row's `lyrics` name, None without."""
    cell = row["lyrics"]
    if cell and not (is_lyrics(Path(cell)) or is_audio(Path(cell))):
        raise UserError(
            f"{row.where}: expected lyrics to be the name of a {' or '.join(SUFFIXES)} file, or of a song whose tags "
            f"hold them, found {shorten(cell, LYRICS_SHOWN)!r}; store the words in such a file"
        )
    return in_any_form(folder / cell) if cell else None


def _album(album_id: str, members: list[tuple[Row, Track | None]], folder: Path, texts: Texts) -> Album:
    rows = [row for row, _ in members]
    cover = next((row["cover"] for row in rows if row["cover"]), None)
    return Album(
        album_id=album_id,
        genres=_union(genre for row in rows for genre in _genres(row)),
        tracks=tuple(track for _, track in members if track),
        split=_split(album_id, rows),
        text="\n".join(_union(_text(row, folder, texts) for row in rows)) or None,
        cover=in_any_form(folder / cover) if cover else None,
    )


def _union(values: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(value for value in dict.fromkeys(values) if value)


def _genres(row: Row) -> tuple[str, ...]:
    genres = parts(row["genres"])
    if not genres:
        raise UserError(f"{row.where}: expected genres joined by ';', found an empty cell; fill it in")
    return genres


def _split(album_id: str, rows: Iterable[Row]) -> str | None:
    """Return the split that the album's rows name; a row that names none follows the others."""
    named: dict[str, str] = {}
    for row in rows:
        split = row["split"].lower()
        if split and split not in SPLITS:
            raise UserError(f"{row.where}: expected split to be train, val or test, found {split!r}; correct it")
        if split:
            named.setdefault(split, row.where)
    if len(named) > 1:
        (one, first), (other, second), *_ = named.items()
        raise UserError(
            f"{second}: expected album {album_id!r} in {one!r} as in {first}, found {other!r}; "
            "an album belongs to one split"
        )
    return next(iter(named), None)


def _text(row: Row, folder: Path, texts: Texts) -> str | None:
    """Return the cell's text, or that of the .txt file it names; None if the file cannot be read."""
    cell = row["text"]
    return texts.read(in_any_form(folder / cell)) if cell.lower().endswith(".txt") else cell


SOURCE = Source(
    name="csv",
    read=read,
    layout="a CSV file with path, id or album, genres joined by ';', and optional artist, text, lyrics, cover, split",
)
