"""The one exception that a command shows as a single line instead of a traceback, and helpers for its text."""

import difflib
import textwrap
from collections.abc import Iterable

REASON_CHARS = 200


class UserError(Exception):
    """Something the user can fix: the message says what is wrong, where, and what to do next.

    Every command prints it as one line, `error: …`, and exits with status 2.
    """


def reason_of(error: BaseException) -> str:
    """Return the kind and the text of a library's error on one line of some 200 characters, for the text of ours."""
    reason = f"{type(error).__name__}: {error}".strip().removesuffix(":")
    return textwrap.shorten(reason, REASON_CHARS, placeholder=" …")


def nearest(name: str, known: Iterable[str], likeness: float = 0.6) -> str | None:
    """Return the known name that is most like `name`, None if none is at least as alike as `likeness` (0 to 1)."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=likeness)), None)
