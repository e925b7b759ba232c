"""Fields of settings: define one with its possible values; flatten, read and check a tree of settings.

Names that a registry knows (families, objectives, front ends) are checked by that registry.
"""

import dataclasses
import math
from typing import Any, get_type_hints

from mumu_jax.errors import UserError


def setting(
    default: Any,
    choices: tuple[Any, ...] = (),
    above: float | None = None,
    low: float = -math.inf,
    high: float | None = None,
) -> Any:
    """Return a dataclass field whose value is one of `choices`, or a finite number in a range.

    A number is greater than `above`, at least `low`, and at most `high`.
    """
    return dataclasses.field(default=default, metadata={"choices": choices, "range": (above, low, high)})


def positive(default: float) -> Any:
    """Return a field for a finite number above 0."""
    return setting(default, above=0)


def not_negative(default: float) -> Any:
    """Return a field for a finite number of at least 0."""
    return setting(default, low=0)


def share(default: float) -> Any:
    """Return a field for a number of at least 0 and below 1."""
    return setting(default, low=0, high=math.nextafter(1, 0))


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """Return the settings as `{"optim.learning_rate": 0.001, …}`, in order of definition."""
    flat = {}
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        if dataclasses.is_dataclass(value):
            flat |= flatten(value, f"{prefix}{f.name}.")
        else:
            flat[prefix + f.name] = value
    return flat


def from_json(cls: Any, tree: dict[str, Any], where: str = "config") -> Any:
    """Return the dataclass `cls` from `dataclasses.asdict`'s tree; raises UserError on a field it does not have."""
    hints = get_type_hints(cls)
    unknown = sorted(set(tree) - set(hints))
    if unknown:
        raise UserError(f"{where} has no field {unknown[0]!r}; it has {', '.join(hints)}")
    values = {}
    for name, value in tree.items():
        hint = hints[name]
        if dataclasses.is_dataclass(hint):
            value = from_json(hint, value, f"{where}.{name}")
        elif hint is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        values[name] = value
    return cls(**values)


def validate(config: Any, where: str = "config") -> None:
    """Raise UserError on the first setting whose type or value no experiment can use."""
    hints = get_type_hints(type(config))
    for field in dataclasses.fields(config):
        value, here, hint = getattr(config, field.name), f"{where}.{field.name}", hints[field.name]
        if dataclasses.is_dataclass(hint):
            validate(value, here)
        elif not isinstance(value, hint) or isinstance(value, bool) != (hint is bool):
            raise UserError(f"{here} is {value!r}; it must be of type {hint.__name__}")
        elif field.metadata:
            _check_value(value, here, field)
    if hasattr(config, "check"):
        config.check(where)


def possible_values(field: dataclasses.Field) -> str:
    """Describe a setting's possible values, choices or a range; return "" if only its type limits it."""
    if not field.metadata:
        return ""
    if field.metadata["choices"]:
        return ", ".join(map(str, field.metadata["choices"]))
    above, low, high = field.metadata["range"]
    bounds = [f"above {above:g}"] if above is not None else [f"at least {low:g}"] if low > -math.inf else []
    bounds += [] if high is None else [f"at most {high:g}" if high == round(high) else f"below {round(high):g}"]
    return " and ".join(bounds)


def _check_value(value: Any, here: str, field: dataclasses.Field) -> None:
    choices, (above, low, high) = field.metadata["choices"], field.metadata["range"]
    if choices:
        if value not in choices:
            raise UserError(f"{here} is {value!r}; choose one of {', '.join(map(repr, choices))}")
        return
    upper = math.inf if high is None else high
    if not (math.isfinite(value) and low <= value <= upper and (above is None or value > above)):
        raise UserError(f"{here} is {value!r}; it must be {possible_values(field)}")
