"""`python -m benchmarks.formulations`: time each formulation of each convolution on this device, as training chooses.

Without training's budget, and whatever was measured before.  If the choice is not the fixed table's, a row of whole
training steps follows: computed as chosen, beside steps as in that table.
"""

import math
from collections.abc import Callable, Sequence
from itertools import product

from benchmarks import options, timing
from benchmarks.benchmark import Benchmark
from benchmarks.columns import Row
from benchmarks.made_up_batches import Problem, item_of
from benchmarks.train_step import Trainer, make_problem, share_the_device
from mumu_jax.compute.formulations import convolutions_of, items_to_time, time_candidates, with_formulations
from mumu_jax.models.kernels.backend import backend
from mumu_jax.models.kernels.formulations import FIXED, Choice
from mumu_jax.system.terminal import run_command

STEPS = 4  # of a chunk


def main(argv: Sequence[str]) -> int:
    """Measure the experiments that the command line asks for."""
    share_the_device()
    benchmark = Benchmark("formulations", __doc__, repeats=7, seconds=1.0)
    options.add_cases(benchmark.parser, options.SIX, "audio")
    arguments = benchmark.start(argv, n_devices=1)
    for config, precision in product(arguments.config, arguments.precision):
        problem = make_problem(config, precision)
        for batch_size in arguments.batch_size or [problem.config.optim.batch_size]:
            case = {"config": config, "precision": precision, "batch_size": batch_size}
            choice = add_candidates(benchmark, problem, case)
            if any(name != fixed for name, fixed in choice.values()):
                table = tuple((convolution, name) for convolution, (name, _) in choice.items())
                sides = (problem, Choice(backend(), table), batch_size, arguments.seconds, arguments.repeats)
                benchmark.measure({**case, "mode": "whole step"}, compare_steps, *sides)
    return benchmark.status


def add_candidates(benchmark: Benchmark, problem: Problem, case: Row) -> dict[str, tuple[str, str]]:
    """Add a row for each candidate of each convolution; return (chosen, fixed) by convolution."""
    choice = {}
    for i, convolution in enumerate(convolutions_of(problem.network, item_of(problem.chunk(1, 1)))):
        n_items = case["batch_size"]
        fixed = FIXED(backend(), n_items, convolution)
        forward = time_candidates(convolution, n_items, backward=False, hopeless=math.inf)
        both = time_candidates(convolution, n_items, hopeless=math.inf)
        assert forward is not None
        assert both is not None
        choice[str(convolution)] = both.chosen, fixed
        for name, milliseconds in both.milliseconds.items():
            marks = [word for word, marked in (("chosen", both.chosen), ("fixed", fixed)) if marked == name]
            row = {"convolution": str(convolution), "n_items": items_to_time(convolution, n_items)}
            times = {"forward_ms": forward.milliseconds[name], "step_ms": milliseconds}
            reasons = {key: time for key, time in times.items() if isinstance(time, str)}
            marks += [f"not possible: {reason}" for reason in dict.fromkeys(reasons.values())]
            times = {key: time for key, time in times.items() if key not in reasons}
            benchmark.add({**case, "mode": f"conv{i} {name}", **row, "choice": ", ".join(marks), **times})
    return choice


def compare_steps(problem: Problem, choice: Choice, batch_size: int, seconds: float, repeats: int) -> Row:
    """Return the rates of training steps as chosen, and beside the fixed table's as the ratio."""
    chunk = problem.chunk(STEPS, batch_size)

    def side(choice: Choice) -> Callable[[], float]:
        problem.network = with_formulations(problem.network, choice)
        return timing.timed(Trainer(problem, chunk).run, STEPS * batch_size, seconds)

    rates = timing.take_turns({"chosen": side(choice), "fixed": side(FIXED)}, repeats)
    return timing.figures(rates["chosen"], rates["fixed"]) | {"peer": "the fixed table"}


if __name__ == "__main__":
    run_command(main)
