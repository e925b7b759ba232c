"""The fields of a config as `train --help` lists them: each with its value, its meaning and the values it may have.

A field's meaning is the comment beside it in `mumu_jax/config.py`, or above it, so that it is written once.
"""

import dataclasses
import inspect
import re
import shutil
import textwrap
from collections.abc import Collection, Iterator, Mapping
from functools import partial
from typing import Any

from mumu_jax.config import Config
from mumu_jax.data.modalities import NETWORK_INPUTS
from mumu_jax.data.modalities.audio.front_ends import FRONT_ENDS
from mumu_jax.fields import possible_values
from mumu_jax.models import FAMILIES
from mumu_jax.models.cnn import VARIANTS
from mumu_jax.objectives import OBJECTIVES

_NAME_COLUMNS = 38  # a longer name with its value is followed by two spaces


def list_fields(config: Config) -> str:
    """Return the lines of all fields of a config, as wide as the terminal; each section begins with its docstring."""
    width = shutil.get_terminal_size((120, 24)).columns
    fill = partial(textwrap.fill, width=width, break_on_hyphens=False, break_long_words=False)
    return "\n".join(_lines_of(config, "--config", _registered(config), {}, fill))


def _registered(config: Config) -> dict[str, Collection[str]]:
    """Return by field the names that registries have for it: of families, those that see the config's modality."""
    widths, kernels = zip(*(name.split("_") for name in VARIANTS), strict=True)
    return {
        "--config.modality": NETWORK_INPUTS,
        "--config.audio.front_end": FRONT_ENDS,
        "--config.model.family": [name for name, family in FAMILIES.items() if config.modality in family.sees],
        "--config.model.width": dict.fromkeys(widths),
        "--config.model.kernel": dict.fromkeys(kernels),
        "--config.target.kind": OBJECTIVES,
    }


def _lines_of(
    settings: Any, where: str, registered: Mapping[str, Collection[str]], described: dict[type, str], fill: partial[str]
) -> Iterator[str]:
    """Yield the lines of a section, then those of the sections in it.

    `described` has the name of the first section of each class; another section of that class is listed without
    meanings.
    """
    is_first = described.setdefault(type(settings), where) == where
    comments = _comments_of(type(settings))
    values = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}
    for field in dataclasses.fields(settings):
        name, value = f"{where}.{field.name}", values[field.name]
        if not dataclasses.is_dataclass(value):
            possible = ", ".join(registered.get(name, ())) or possible_values(field)
            parts = [comments[field.name], f"[{possible}]" if possible else ""] if is_first else []
            line = f"{f'{name}={value}':<{_NAME_COLUMNS}}  {' '.join(filter(None, parts))}".rstrip()
            yield fill(line, initial_indent="  ", subsequent_indent=" " * 8)
    for field_name, section in values.items():
        if dataclasses.is_dataclass(section):
            name, seen = f"{where}.{field_name}", described.get(type(section))
            docstring = " ".join((inspect.getdoc(type(section)) or "").split())
            yield "\n" + fill(f"{name}: {comments[field_name] or docstring}", subsequent_indent="    ")
            if seen:
                yield fill(f"its fields are those of {seen}", initial_indent="    ", subsequent_indent="    ")
            yield from _lines_of(section, name, registered, described, fill)


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
