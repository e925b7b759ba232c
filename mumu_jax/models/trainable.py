"""Which parameters train: those whose path has a match of a regular expression."""

import re
from collections.abc import Sequence


def trains(pattern: str, path: Sequence[str]) -> bool:
    """Whether what lies at `path`, such as layer4_2/conv1/kernel, trains; everything does under the pattern ""."""
    return re.search(pattern, "/".join(path)) is not None
