"""The one exception that a command shows as a single line instead of a traceback."""


class UserError(Exception):
    """Something the user can mend: the message says what is wrong, where, and what to do next.

    Every command prints it as one line, `error: …`, and exits with status 2.
    """
