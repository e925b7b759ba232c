"""`python -m benchmarks.kernel_times`: list a training step's kernels with their times, read from a profiler's trace.

On a GPU, profiling turns CUDA graphs off: kernels keep their times, a step does not.  On a CPU, whose trace has no
track of a device, the operations of the compiled program are listed, which run on several threads.
It needs as few packages as `benchmarks.device`.
"""

import gzip
import json
import re
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from benchmarks import options, train_step
from benchmarks.benchmark import Benchmark
from benchmarks.columns import Row
from benchmarks.flops import fastest_product
from benchmarks.kernels import Kernel
from benchmarks.made_up_batches import Problem
from mumu_jax.errors import UserError
from mumu_jax.system.terminal import run_command

N_CHUNKS = 3
N_SHOWN = 15
# Operations of a CPU's program that only call others, which have events of their own.
CALLERS = re.compile(r"(while|call|conditional)(\.\d+)?$")

Event = dict[str, Any]


def main(argv: Sequence[str]) -> int:
    """Profile every network that the command line asks for; 1 if one of them failed."""
    benchmark = Benchmark("kernel_times", __doc__, seconds=0.4)
    options.add_cases(benchmark.parser, ["audio_high_4x70"], "audio", "mel", "image", "text")
    arguments = benchmark.start(argv, n_devices=1)
    for name, precision in ((name, precision) for name in arguments.config for precision in arguments.precision):
        for batch_size in arguments.batch_size or train_step.default_batch_sizes(name):
            case = {"config": name, "precision": precision, "batch_size": batch_size}
            peak = fastest_product(precision, 0.1)
            problem = train_step.make_problem(name, precision)
            benchmark.measure(case, measure, problem, batch_size, peak, arguments.seconds)
    return benchmark.status


def measure(problem: Problem, batch_size: int, peak: train_step.Rate, seconds: float) -> Row:
    """Return a row's measurements: the kernels of a step, and their whole time."""
    n_steps = train_step.steps_within(seconds, train_step.train_flops(problem) * batch_size, peak)
    trainer = train_step.Trainer(problem, problem.chunk(n_steps, batch_size))
    with tempfile.TemporaryDirectory(prefix="mumu_jax_trace_") as folder:
        with jax.profiler.trace(folder):
            for _ in range(N_CHUNKS):
                trainer.run()
        events = read_trace(Path(folder))
    track, kernels = kernels_of(events, N_CHUNKS * n_steps)
    return {
        "mode": track,
        "seconds": sum(kernel.seconds for kernel in kernels),
        "n_kernels": round(sum(kernel.calls for kernel in kernels)),
        "kernels": [kernel._asdict() for kernel in kernels[:N_SHOWN]],
    }


def read_trace(folder: Path) -> list[Event]:
    """Return the events of the only trace in `folder`."""
    (path,) = folder.rglob("*.trace.json.gz")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return json.load(file)["traceEvents"]


def kernels_of(events: list[Event], n_steps: int) -> tuple[str, list[Kernel]]:
    """Return which tracks of a trace were read, and a step's kernels, the slowest first.

    A GPU's are on the tracks of its streams, a TPU's on the one of XLA's operations; beside them lie tracks that tell
    the same time again by module or by line of code.  Raises UserError if no event tells of a compiled program.
    """
    processes = {event["pid"]: event["args"]["name"] for event in events if event.get("name") == "process_name"}
    threads = {
        (event["pid"], event["tid"]): event["args"]["name"] for event in events if event.get("name") == "thread_name"
    }
    timed = [event for event in events if event.get("ph") == "X"]

    def of_device(track: str) -> list[Event]:
        return [
            event
            for event in timed
            if processes.get(event["pid"], "").startswith("/device:")
            and threads.get((event["pid"], event["tid"]), "").startswith(track)
        ]

    def on_host() -> list[Event]:
        named = [event for event in timed if "hlo_op" in event.get("args", {})]
        return [event for event in named if not CALLERS.match(event["name"])]

    tracks = {"a device's streams": of_device("Stream"), "a device's operations": of_device("XLA Ops")}
    tracks["threads of the host: the trace has no device"] = on_host()
    track, found = next(((name, found) for name, found in tracks.items() if found), ("", []))
    if not found:
        raise UserError("the trace has no event of a compiled program; profile with another version of JAX")
    total = sum(event["dur"] for event in found)
    microseconds: Counter[tuple[str, str]] = Counter()
    calls: Counter[tuple[str, str]] = Counter()
    for event in found:
        key = (event["name"], event.get("args", {}).get("hlo_op", ""))
        microseconds[key] += event["dur"]
        calls[key] += 1
    return track, [
        Kernel(*key, spent / n_steps * 1e-6, spent / total, calls[key] / n_steps)
        for key, spent in microseconds.most_common()
    ]


if __name__ == "__main__":
    run_command(main)
