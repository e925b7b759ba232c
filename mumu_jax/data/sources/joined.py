"""Genres that one text joins: by `;`, which no genre's name has, or by marks that are part of some names."""

import re
from collections.abc import Collection

JOINER = ";"
OTHER_MARKS = (",", "|", "/")  # people join genres by these, too


def parts(text: str, pattern: str = JOINER) -> tuple[str, ...]:
    """Return the stripped parts of the text between matches of the pattern, each once, without blank ones."""
    return tuple(dict.fromkeys(part.strip() for part in re.split(pattern, text) if part.strip()))


def find_joined(genres: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Return the genres that are several ones, by name, with these: every part is a genre of the collection itself.

    So `Rap/Rock` is two if there is `Rap` and `Rock`, and `Folk, World, & Country` is one.
    """
    known, any_mark = {*genres}, f"[{re.escape(''.join(OTHER_MARKS))}]"
    split = {genre: parts(genre, any_mark) for genre in sorted(known)}
    return {genre: names for genre, names in split.items() if {genre} != {*names} <= known}
