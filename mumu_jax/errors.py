"""The one exception that a command shows as a single line instead of a traceback, and a helper for its text."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can fix: the message says what is wrong, where, and what to do next.

    Every command prints it as one line, `error: …`, and exits with status 2.
    """


def nearest(name: str, known: Iterable[str], likeness: float = 0.6) -> str | None:
    """Return the known name that is most like `name`, None if none is at least as alike as `likeness` (0 to 1)."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=likeness)), None)
