"""A folder of genres: `GENRE/file.ext`, each file an album, and `GENRE/album/…/file.ext`, each folder one."""

from collections import Counter, defaultdict
from pathlib import Path

from mumu_jax.data.manifest import Album, Track, labels_of
from mumu_jax.data.modalities.lyrics.files import SUFFIXES, is_lyrics
from mumu_jax.data.modalities.suffixes import is_audio, is_image
from mumu_jax.data.sources.base import Collection, Request, Source
from mumu_jax.data.sources.files import Texts, as_id, files_below, genre_of
from mumu_jax.data.sources.finding import some
from mumu_jax.errors import UserError


def read(root: Path, request: Request) -> Collection:
    """Return one album for every name directly below a genre's folder that has audio.

    A file is named without its extension, so `Rock/song.flac`, `Rock/song.mp3`, `Rock/song.txt` and `Rock/song.jpg` are
    one album of two tracks with its text and its cover, whose copies never fall into different splits.  A text file
    named like a track, `.txt` or `.lrc`, holds also its lyrics.  A track's id is its path below `root`.  Hidden files
    are passed over.  Raises UserError on audio that is in no genre's folder.
    """
    if not root.is_dir():
        raise UserError(f"expected a folder of genres, found a file: {root}; give the folder above it")
    albums, texts = [], Texts(request.max_chars)
    for album_id, files in _group(root).items():
        audio = [path for path in files if is_audio(path)]
        if audio:
            lyrics = {path.with_suffix(""): path for path in reversed(files) if is_lyrics(path)}  # the first counts
            tracks = tuple(
                Track(as_id(path.relative_to(root).as_posix()), path, lyrics=lyrics.get(path.with_suffix("")))
                for path in audio
            )
            genre = album_id.partition("/")[0]
            stems = {path.stem for path in audio}
            text = _text(files, stems, texts)
            albums.append(Album(album_id, (genre,), tracks, text=text, cover=_cover(files, stems)))
    if not albums and any(map(is_image, files_below(root))):
        raise UserError(f"expected audio in folders named by genre, found images alone in {root}; say --source=covers")
    return Collection(albums, labels_of(albums), texts.rejected, _notes_of_others(root))


def _notes_of_others(root: Path) -> list[str]:
    """Return a note if files are neither songs nor images nor texts: some may be songs under other names."""
    suffixes = (path.suffix.lower() for path in files_below(root) if not (is_audio(path) or is_image(path)))
    others = Counter(suffix or "without a suffix" for suffix in suffixes if suffix not in (*SUFFIXES, ".json"))
    kinds = some([f"{n:,} {suffix}" for suffix, n in others.most_common()])
    return [f"{others.total():,} files are of no kind that is read, and passed over: {kinds}"] if others else []


def _group(folder: Path) -> dict[str, list[Path]]:
    """Return the files of every album, by its id `GENRE/name`."""
    groups = defaultdict(list)
    for path in files_below(folder):
        parts = path.relative_to(folder).parts
        if len(parts) > 1 or is_audio(path):
            genre, name = genre_of(path, folder, "audio"), parts[1] if len(parts) > 2 else path.stem
            groups[f"{genre}/{as_id(name)}"].append(path)
    return groups


def _text(files: list[Path], stems: set[str], texts: Texts) -> str | None:
    """Return the album's `review.txt`, else its only .txt file, else those named like its tracks, joined."""
    candidates = [path for path in files if path.suffix.lower() == ".txt"]
    reviews = [path for path in candidates if path.stem.lower() == "review"]
    if not reviews and len(candidates) > 1:
        candidates = [path for path in candidates if path.stem in stems]
    return "\n".join(texts.read(path) or "" for path in reviews or candidates) or None


def _cover(files: list[Path], stems: set[str]) -> Path | None:
    """Return the album's `cover.*`, else its `folder.*`, else the first image named like one of its tracks."""
    ranks = {"cover": 0, "folder": 1}
    images = [path for path in files if is_image(path) and (path.stem.lower() in ranks or path.stem in stems)]
    return min(images, key=lambda path: ranks.get(path.stem.lower(), 2), default=None)


SOURCE = Source(
    name="folder",
    read=read,
    layout="a folder of GENRE/file.ext or GENRE/album/…/file.ext",
)
