"""A song's own tags, ID3, MP4, Vorbis, APE or ASF, as mutagen reads them.

Mutagen is licensed under the GPL: nothing imports it unless songs' tags are to be read or written.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from mumu_jax.data.manifest import Rejected
from mumu_jax.errors import UserError, reason_of
from mumu_jax.system.files import open_regular

T = TypeVar("T")

FORMATS = ("ID3", "MP4Tags", "ASFTags", "APEv2")  # classes of mutagen; all other tags are Vorbis comments
# A field's names in these formats, in this order, and in Vorbis comments, where lyrics have two
LYRICS = ("USLT", "\xa9lyr", "WM/Lyrics", "Lyrics", "lyrics")
UNSYNCED_LYRICS = ("USLT", "\xa9lyr", "WM/Lyrics", "Unsyncedlyrics", "unsyncedlyrics")


def find_in_tags(path: Path, find: Callable[[Any], T]) -> T:
    """Return what `find` finds in a song's tags, which are None if it has none.

    Raises Rejected if they cannot be read, and UserError if mutagen is not installed.
    """
    try:
        import mutagen
    except ImportError as error:
        raise UserError("reading songs' tags needs mutagen; pip install 'mumu_jax[write]'") from error
    try:
        with open_regular(path) as file:
            content: Any = mutagen.File(file)  # pyright: ignore[reportPrivateImportUsage]
        if content is not None:
            return find(content.tags)
    except FileNotFoundError as error:
        raise Rejected("missing", "there is no such file") from error
    except Exception as error:  # damaged tags raise IndexError, too
        raise Rejected("unreadable", f"its tags cannot be read: {reason_of(error)}") from error
    raise Rejected("not_audio", "expected a song with tags, found none of the kinds of files that mutagen reads")


def values_of(tags: Any, names: Sequence[str]) -> list[str]:
    """Return the values of a field with these names; ID3's numbers of genres as their names."""
    kinds = [kind.__name__ for kind in type(tags).__mro__]
    name = names[next((i for i, kind in enumerate(FORMATS) if kind in kinds), len(FORMATS))]
    if "ID3" not in kinds:
        return [str(value) for value in (tags or {}).get(name, ())]
    values = (getattr(frame, "genres", frame.text) for frame in tags.getall(name))
    return [str(one) for value in values for one in ([value] if isinstance(value, str) else value)]


def lyrics_in(tags: Any) -> str:
    """Return the first lyrics in a song's tags that are not blank; "" if there are none."""
    return next(filter(str.strip, (*values_of(tags, LYRICS), *values_of(tags, UNSYNCED_LYRICS))), "")
