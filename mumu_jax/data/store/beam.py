"""Preparation on a cluster, shard by shard, by any runner of Apache Beam (an optional extra)."""

import importlib
import shlex
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from mumu_jax.errors import UserError

T = TypeVar("T")
ForEach = Callable[[Callable[[Any], None], Sequence[Any]], None]


def chosen_for_each(runner: str | None, options: str) -> ForEach | None:
    """Return the function of `for_each_under` that a command's --beam_runner and --beam_options choose, if they do.

    Raises UserError as that, and if there are options without a runner.
    """
    if options and runner is None:
        raise UserError(f"--beam_options={options} without --beam_runner; name the runner too")
    return for_each_under(runner, shlex.split(options)) if runner else None


def for_each_under(runner: str, options: Sequence[str] = ()) -> ForEach:
    """Return a function that calls another for every item, on any worker, in any order, until all are done.

    `options` are Beam's own command line (`--direct_num_workers=8`).  If a worker dies, the runner tries its item
    again, perhaps twice at once.  Raises UserError if Beam is not installed or has no such runner.
    """
    try:
        beam = importlib.import_module("apache_beam")
        settings = importlib.import_module("apache_beam.options.pipeline_options").PipelineOptions
    except ModuleNotFoundError as error:
        raise UserError("--beam_runner needs Apache Beam; pip install 'mumu_jax[beam]'") from error
    try:
        chosen = beam.runners.create_runner(runner)
    except (ValueError, ImportError) as error:
        raise UserError(f"--beam_runner={runner}: {str(error).splitlines()[0]}") from error

    def for_each(call: Callable[[T], None], items: Sequence[T]) -> None:
        with beam.Pipeline(runner=chosen, options=settings(list(options))) as pipeline:
            _ = pipeline | beam.Create(items, reshuffle=True) | beam.Map(call)

    return for_each
