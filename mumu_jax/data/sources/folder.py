"""A folder of genres: `GENRE/file.ext`, each file an album, and `GENRE/album/…/file.ext`, each folder one."""

from collections import defaultdict
from pathlib import Path

from mumu_jax.data.manifest import Album, Track, labels_of
from mumu_jax.data.modalities.suffixes import is_audio, is_image
from mumu_jax.data.sources.files import Texts, as_id, files_below
from mumu_jax.data.sources.request import Collection, Request
from mumu_jax.errors import UserError


def read(input: Path, request: Request) -> Collection:
    """One album for every name directly below a genre's folder, where it holds audio.

    A file is named without its extension, so `Rock/song.flac`, `Rock/song.mp3`, `Rock/song.txt` and
    `Rock/song.jpg` are one album of two tracks with its text and its cover, whose copies never fall into
    different splits.  A track's id is its path below `input`.  Hidden files are passed over.  Raises
    UserError on audio that lies in no genre's folder.
    """
    if not input.is_dir():
        raise UserError(f"expected a folder of genres, found a file: {input}; give the folder above it")
    albums, readable = [], Texts(request.max_chars)
    for album_id, files in _group(input).items():
        audio = [path for path in files if is_audio(path)]
        if audio:
            tracks = tuple(Track(as_id(path.relative_to(input).as_posix()), path) for path in audio)
            genre = album_id.partition("/")[0]
            stems = {path.stem for path in audio}
            albums.append(
                Album(album_id, (genre,), tracks, text=_text(files, stems, readable), cover=_cover(files, stems))
            )
    if not albums and any(map(is_image, files_below(input))):
        raise UserError(f"expected audio in folders named by genre, found images alone in {input}; say --source=covers")
    return Collection(albums, labels_of(albums), readable.rejected)


def _group(folder: Path) -> dict[str, list[Path]]:
    """The files of every album, by its id `GENRE/name`."""
    groups = defaultdict(list)
    for path in files_below(folder):
        parts = path.relative_to(folder).parts
        if len(parts) > 1:
            name = parts[1] if len(parts) > 2 else path.stem
            groups[as_id(f"{parts[0]}/{name}")].append(path)
        elif is_audio(path):
            raise UserError(
                f"expected audio in folders named by genre, found {path} in none; "
                "move it into one, or give the folder above as --input"
            )
    return groups


def _text(files: list[Path], stems: set[str], readable: Texts) -> str | None:
    """The album's `review.txt`, else its only .txt file, else those named like its tracks, joined."""
    texts = [path for path in files if path.suffix.lower() == ".txt"]
    reviews = [path for path in texts if path.stem.lower() == "review"]
    if not reviews and len(texts) > 1:
        texts = [path for path in texts if path.stem in stems]
    return "\n".join(readable.read(path) or "" for path in reviews or texts) or None


def _cover(files: list[Path], stems: set[str]) -> Path | None:
    """The album's `cover.*`, else its `folder.*`, else the first image named like one of its tracks."""
    images = [path for path in files if is_image(path)]
    rank = {"cover": 0, "folder": 1}
    wanted = [path for path in images if path.stem.lower() in rank or path.stem in stems]
    return min(wanted, key=lambda path: rank.get(path.stem.lower(), 2), default=None)
