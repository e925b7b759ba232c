"""The formulations of a run's convolutions: measured once and remembered, another run's, or the fixed table's.

The choice is a part of the run, in its config.json: a resumed run computes as it began, byte for byte.
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import msgspec

from mumu_jax.compute.compiler_options import compiler_options
from mumu_jax.compute.formulations import (
    BUDGET_S,
    Timed,
    convolutions_of,
    most_work_first,
    time_candidates,
)
from mumu_jax.compute.network import item_network
from mumu_jax.config import Config
from mumu_jax.data.modalities.inputs import Inputs
from mumu_jax.errors import UserError
from mumu_jax.models.kernels.backend import backend
from mumu_jax.models.kernels.formulations import FIXED, FORMULATIONS, Choice, Convolution, candidates, usable
from mumu_jax.runs.settings import MUMU_LABELS
from mumu_jax.system.cache import cache_folder
from mumu_jax.system.files import read_checked_json, write_checked_json
from mumu_jax.system.lines import print_remark
from mumu_jax.system.processor import processor_in_full
from mumu_jax.system.version import versions

NAME = "formulations"  # in config.json


def choose_formulations(config: Config) -> Choice:
    """Return the choice that `config.model.formulations` names, for training on all devices.

    Raises UserError if that is a file which does not hold the formulations of this network on this backend.
    """
    named, n_items = config.model.formulations, config.optim.batch_size // jax.device_count()
    if named == "auto":
        named = "fixed" if backend() == "cpu" else "measured"
    if named == "fixed":
        return FIXED
    inputs = Inputs.unfitted(config)
    convolutions = convolutions_of(item_network(config, MUMU_LABELS, {}), inputs.item)
    if not convolutions:
        return FIXED
    return measured(convolutions, n_items) if named == "measured" else _from_file(named, convolutions)


# --- measured, and remembered ---------------------------------------------------------------------------------


def measured(convolutions: list[Convolution], n_items: int, clock: Any = time.perf_counter) -> Choice:
    """Return the fastest formulations on this device: those that were measured before, and the others now.

    Convolutions that no time is left for are computed as the fixed table says, and measured by the next run.
    """
    memory = _Memory(cache_folder() / "formulations.json")
    start, table, new = clock(), {}, {}
    for convolution in most_work_first(convolutions):
        names = candidates(backend(), convolution)
        if len(names) == 1:
            continue
        key = f"{n_items} × {convolution}"
        timed = memory.recall(key, names)
        if timed is None:
            timed = new[key] = time_candidates(convolution, n_items, lambda: clock() - start > BUDGET_S, clock)
        if timed is not None:
            table[str(convolution)] = timed.chosen
    done = {key: timed for key, timed in new.items() if timed is not None}
    others = _unlike_the_table(convolutions, table, n_items)
    for key, timed in done.items():
        for name, reason in timed.reasons.items():
            print_remark(f"warning: {key} cannot be computed by {name} now ({reason}); the next run tries again")
    # What failed is not kept: another program may have held the memory.
    kept = memory.add({key: timed for key, timed in done.items() if not timed.reasons})
    if new:
        left = f"; no time was left for {len(new) - len(done)} more" if len(done) < len(new) else ""
        said = f"formulations of {len(done)} convolutions measured in {clock() - start:.1f} s{left}: "
        print_remark(said + (others or "all as in the fixed table") + (f"; kept in {memory.path}" if kept else ""))
    elif others:
        print_remark(f"formulations as {memory.path} remembers them: {others}")
    return Choice(backend(), tuple(table.items()))


def _unlike_the_table(convolutions: list[Convolution], table: Mapping[str, str], n_items: int) -> str:
    """Return in words which convolutions are not computed as the fixed table says; "" if all are."""
    others = [
        f"{convolution} by {table[str(convolution)]}, not {fixed}"
        for convolution in convolutions
        if table.get(str(convolution), fixed := FIXED(backend(), n_items, convolution)) != fixed
    ]
    return ", ".join(others)


class _Memory:
    """Measurements on devices of this kind by these versions and compiler options, in a file that others write to."""

    def __init__(self, path: Path) -> None:
        device = processor_in_full() if backend() == "cpu" else jax.devices()[0].device_kind
        made_with = versions("mumu_jax", "jax", "jaxlib") | compiler_options(jax.devices()[0])
        self.path, self._section = path, ", ".join([device, *(f"{name} {one}" for name, one in made_with.items())])
        self._known = self._read().get(self._section, {})

    def recall(self, key: str, names: set[str]) -> Timed | None:
        """Return what was measured of these candidates; None if nothing, or of others."""
        timed = self._known.get(key)
        return timed if timed is not None and timed.milliseconds.keys() == names else None

    def add(self, measured: Mapping[str, Timed]) -> bool:
        """Keep what was measured; return True if that was written.  If it cannot be, say so."""
        if not measured:
            return False
        sections = self._read()
        sections[self._section] = {**sections.get(self._section, {}), **measured}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_checked_json(self.path, sections)
        except OSError as error:
            print_remark(f"warning: {self.path} cannot be written ({error.strerror}): the next run measures again")
            return False
        return True

    def _read(self) -> dict[str, dict[str, Timed]]:
        try:
            content = read_checked_json(self.path)
            content.pop("sha256", None)
            return msgspec.convert(content, dict[str, dict[str, Timed]])
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            print_remark(f"warning: {self.path} is damaged ({error}): formulations are measured again")
            return {}


# --- in files -------------------------------------------------------------------------------------------------


def as_json(choice: Choice) -> dict[str, Any] | None:
    """Return what config.json says of a choice; None for the fixed table."""
    return None if choice == FIXED else {"backend": choice.backend, "convolutions": dict(choice.table)}


def from_about(about: Mapping[str, Any], where: str) -> Choice:
    """Return the choice in the content of config.json, `where`; the fixed table if it has none, as older runs.

    Raises UserError if it has a formulation that does not exist.
    """
    found = about.get(NAME)
    if found is None:
        return FIXED
    try:
        choice = Choice(found["backend"], tuple(found["convolutions"].items()))
        unknown = next((name for _, name in choice.table if name not in FORMULATIONS), None)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{where} has other formulations than a run writes ({error!r}); restore it") from error
    if unknown is not None:
        raise UserError(f"{where} has the formulation {unknown!r}; known are {', '.join(FORMULATIONS)}; correct it")
    return choice


def _from_file(named: str, convolutions: list[Convolution]) -> Choice:
    """Return the choice in another run's config.json, for these convolutions."""
    try:
        about = json.loads(Path(named).read_text(encoding="utf-8"))
        if not isinstance(about, dict) or about.get(NAME) is None:
            raise ValueError("it has no measured formulations")
    except (OSError, ValueError) as error:
        raise UserError(
            f"config.model.formulations={named!r} is neither 'auto', 'measured' nor 'fixed', nor the config.json of a "
            f"run that measured its formulations ({error}); choose one of these"
        ) from error
    choice = from_about(about, named)
    if choice.backend != backend():
        raise UserError(
            f"config.model.formulations={named!r} was measured on a {choice.backend}, and JAX computes on a "
            f"{backend()} here; choose 'measured'"
        )
    table = dict(choice.table)
    for convolution in convolutions:
        name = table.get(str(convolution))
        if name is not None and name not in usable(convolution):
            raise UserError(
                f"config.model.formulations={named!r} computes {convolution} as {name!r}, which is not possible; "
                f"choose one of {', '.join(sorted(usable(convolution)))} there"
            )
    known = tuple((str(one), table[str(one)]) for one in convolutions if str(one) in table)
    if not known:
        raise UserError(
            f"config.model.formulations={named!r} has none of this network's convolutions, such as {convolutions[0]}; "
            "choose a run of the same network, or 'measured'"
        )
    return Choice(choice.backend, known)
