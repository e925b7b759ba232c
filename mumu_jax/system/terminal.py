"""What every command shares: one line instead of a traceback for what the user can mend."""

import argparse
import errno
import sys
from collections.abc import Callable, Sequence

from absl import logging

from mumu_jax.errors import UserError

# Errors that say what is wrong with a place on the disk, not with the program.
_OF_THE_PLACE = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT),
    *(errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG),
}


def positive(text: str) -> int:
    """The type of an argument of argparse that counts something."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not above 0")
    return value


def run_command(main: Callable[[Sequence[str]], int | None], argv: Sequence[str] | None = None) -> None:
    """Call `main(arguments)` and exit with its status: 0 done, 2 what the user can mend, others the command's own."""
    logging.set_verbosity(logging.ERROR)  # Orbax and TFDS tell of their inner life at the lower levels
    try:
        sys.exit(main(sys.argv[1:] if argv is None else argv) or 0)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # `… | head` closed the pipe: nothing more to say, and nobody to say it to
        sys.exit(1)
    except OSError as error:
        if error.filename is None or error.errno not in _OF_THE_PLACE:
            raise
        print(f"error: cannot use {error.filename}: {error.strerror}; mend that, or give another path", file=sys.stderr)
        sys.exit(2)
