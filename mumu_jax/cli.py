"""What every command shares: one line instead of a traceback for what the user can mend."""

import sys
from collections.abc import Callable, Sequence

from mumu_jax.errors import UserError


def run_command(main: Callable[[Sequence[str]], int | None], argv: Sequence[str] | None = None) -> None:
    """Call `main(arguments)` and exit with what it returns: 0 done, 2 a UserError, others the command's own."""
    try:
        sys.exit(main(sys.argv[1:] if argv is None else argv) or 0)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # `… | head` closed the pipe: nothing more to say, and nobody to say it to
        sys.exit(1)
