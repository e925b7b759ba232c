"""The fields of a config as `train --help` lists them: each with its value, its meaning and the values it may have.

A field's meaning is the comment beside it in `mumu_jax/config.py`, or above it, so that it is written once.
"""

import dataclasses
import inspect
import re
import shutil
import textwrap
from collections.abc import Iterator
from typing import Any

from mumu_jax.config import Config
from mumu_jax.fields import possible_values
from mumu_jax.models import FAMILIES
from mumu_jax.objectives import OBJECTIVES

_REGISTRIES = {"--config.model.family": FAMILIES, "--config.target.kind": OBJECTIVES}
_NAME_COLUMNS = 38  # a longer name with its value is followed by two spaces
_BEHIND = " " * 8  # before the second line of a field


def list_fields(config: Config) -> str:
    """Return the lines of all fields of a config, as wide as the terminal; each section begins with its docstring."""
    width = shutil.get_terminal_size((120, 24)).columns
    return "\n".join(_lines_of(config, "--config", {}, width))


def _lines_of(settings: Any, where: str, described: dict[type, str], width: int) -> Iterator[str]:
    """Yield the lines of a section, then those of the sections in it.

    `described` has the name of the first section of each class; another one of that class has no meanings.
    """
    cls = type(settings)
    is_first = described.setdefault(cls, where) == where
    comments = _comments_of(cls) if is_first else {}
    values = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}
    for field in dataclasses.fields(settings):
        name, value = f"{where}.{field.name}", values[field.name]
        if not dataclasses.is_dataclass(value):
            possible = ", ".join(_REGISTRIES.get(name, ())) or possible_values(field)
            about = [comments.get(field.name), f"[{possible}]" if possible else ""] if is_first else []
            line = f"{f'{name}={value}':<{_NAME_COLUMNS}}  {' '.join(filter(None, about))}".rstrip()
            yield textwrap.fill(line, width, initial_indent="  ", subsequent_indent=_BEHIND)
    for field_name, section in values.items():
        if dataclasses.is_dataclass(section):
            name, seen = f"{where}.{field_name}", described.get(type(section))
            title = f"as {seen}" if seen else " ".join((inspect.getdoc(type(section)) or "").split())
            yield "\n" + textwrap.fill(f"{name}: {title}", width, subsequent_indent="    ")
            yield from _lines_of(section, name, described, width)


def _comments_of(cls: type) -> dict[str, str]:
    """Return the comment of each field of a dataclass by name: the one on its line, or those on the lines above it."""
    comments, above = {}, []
    for line in inspect.getsource(cls).splitlines():
        code, _, comment = line.partition("# ")
        field = re.match(r"    (\w+): ", code)
        if field:
            comments[field[1]] = comment or " ".join(above)
        above = [] if code.strip() else [*above, comment]
    return comments
