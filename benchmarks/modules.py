"""Read a compiled program's text: its kernels, the bytes that they move, and the messages between devices.

A step is the body of a chunk's loop, as training runs it: alone it would copy parameters between layouts.
"""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

from benchmarks.compilers import N_STEPS

# Instructions of a compiled module that start no kernel.
VALUES = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "opt-barrier", "partition-id"}
CALLS = {"while", "call", "conditional", "async-start", "async-update", "async-done"}
MESSAGES = {"all-reduce", "all-reduce-start"}
COPIES = {"copy", "transpose"}

# A TPU's arrays in its vector memory, which is on the chip: `f32[64]{0:T(128)S(1)}`.
ON_CHIP = re.compile(r"\bS\(\d+\)")

Computation = dict[str, "Instruction"]
Step = list[tuple["Instruction", int]]  # each kernel and the bytes that it moves


class Array(NamedTuple):
    """The type of an array: XLA's name of its values' type, its sizes, and its layout."""

    kind: str
    sizes: tuple[int, ...]
    layout: str

    @property
    def n_bytes(self) -> int:
        """Return its bytes.  XLA's types end with their bits, except pred (a byte) and token (nothing)."""
        bits = re.search(r"\d+$", self.kind)
        return math.prod(self.sizes) * (int(bits[0]) // 8 if bits else int(self.kind == "pred"))


class Instruction(NamedTuple):
    """One line of a compiled module: its opcode, its result's type, the names it reads, and the line."""

    opcode: str
    shape: str
    operands: tuple[str, ...]
    text: str

    @property
    def arrays(self) -> list[Array]:
        """Return the result's arrays; where a message begins, XLA may list its operands before them, in a tuple."""
        arrays = _arrays(self.shape)
        return arrays[len(arrays) // 2 :] if self.opcode in MESSAGES and self.shape.startswith("((") else arrays

    def n_bytes(self, turns: tuple[int, ...] = (N_STEPS,)) -> int:
        """Return the bytes of the result in the device's memory, without a library call's workspace (u8).

        Of an array whose first size is the number of turns of a loop around it, those of one turn count: a kernel reads
        or writes no more, as of a chunk's inputs it takes those of its step.
        """
        arrays = [array for array in self.arrays if not ON_CHIP.search(array.layout)]
        if self.opcode == "custom-call":
            arrays = [array for array in arrays if array.kind != "u8"]
        return sum(
            array.n_bytes // (array.sizes[0] if array.sizes and array.sizes[0] in turns else 1) for array in arrays
        )


class Module:
    """A compiled program's computations, by name; the entry computation is called ENTRY."""

    def __init__(self, text: str):
        self.computations: dict[str, Computation] = {}
        current: Computation = {}
        for line in text.splitlines():
            if head := re.match(r"(ENTRY )?%?([\w.\-]+) \(.*\{$", line):
                current = self.computations.setdefault("ENTRY" if head[1] else head[2], {})
            elif found := re.match(r"\s+(?:ROOT )?%([\w.\-]+) = (.*?) ([a-z][\w\-]*)\((.*)", line):
                name, shape, opcode, rest = found.groups()
                operands = tuple(re.findall(r"%([\w.\-]+)", rest.split("), ")[0]))
                current[name] = Instruction(opcode, shape, operands, line)

    def kernels(self, name: str, turns: tuple[int, ...] = (N_STEPS,)) -> Iterator[tuple[Instruction, int]]:
        """Yield each kernel and the bytes it reads and writes: every operand and result once, a loop's in each turn.

        `turns` are those of the loops around.
        """
        computation = self.computations[name]
        for one in computation.values():
            if one.opcode == "while":
                n_turns = self._n_turns(one)
                yield from n_turns * list(self.kernels(_called(one), (*turns, n_turns)))
            elif one.opcode in ("call", "async-start"):
                yield from self.kernels(_called(one), turns)
            elif one.opcode not in VALUES | CALLS and not one.opcode.endswith("-done"):
                operands = {*one.operands} & computation.keys()
                yield one, one.n_bytes(turns) + sum(computation[operand].n_bytes(turns) for operand in operands)

    def step(self) -> Step:
        """Return the kernels of the largest loop's body, and their bytes.  Raises ValueError if there is no loop."""
        return max((list(self.kernels(_called(one))) for one in self._all() if one.opcode == "while"), key=len)

    def _n_turns(self, loop: Instruction) -> int:
        """Return the number with which the loop's condition compares its counter; 1 if there is none, or several."""
        condition = self.computations.get(_called(loop, "condition"), {})
        numbers = [re.search(r" constant\((\d+)\)", one.text) for one in condition.values() if one.opcode == "constant"]
        return int(numbers[0][1]) if len(numbers) == 1 and numbers[0] else 1

    def giant_windows(self, longest: int) -> list[str]:
        """Return the lines of convolutions whose window is more than twice as long as the network's longest kernel.

        On a GPU, a weight gradient that is computed as a convolution has a window of hundreds of frames; on a TPU it is
        a matrix product like any other.  A formulation may make a window one longer than its kernel.
        """
        lines = [one.text for one in self._all()]
        convolutions = [line for line in lines if " convolution(" in line or "__cudnn$conv" in line]
        sizes = [(re.search(r"window=\{size=(\d+)", line), line) for line in convolutions]
        return [line for size, line in sizes if size and int(size[1]) > 2 * longest]

    def _all(self) -> Iterator[Instruction]:
        return (one for computation in self.computations.values() for one in computation.values())


def _called(one: Instruction, by: str = "body|to_apply|calls") -> str:
    """Return the name of the computation that an instruction calls."""
    found = re.search(rf"\b(?:{by})=%([\w.\-]+)", one.text)
    return found[1] if found else ""


def messages(step: Step) -> list[int]:
    """Return the bytes of each all-reduce of a step."""
    return [sum(array.n_bytes for array in one.arrays) for one, _ in step if one.opcode in MESSAGES]


def copies(step: Step, n_values: int) -> list[str]:
    """Return the lines of copies and transpositions of so many values in the device's memory: changes of layout."""

    def is_of_them(one: Instruction) -> bool:
        return one.opcode in COPIES and n_values == sum(math.prod(array.sizes) for array in one.arrays)

    return [one.text for one, _ in step if is_of_them(one) and one.n_bytes()]


def cycles(step: Step) -> int:
    """Return the cycles of a step by the estimate of a TPU's compiler; 0 in a program for another device."""
    return sum(int(number) for one, _ in step for number in re.findall(r'"estimated_cycles":"(\d+)"', one.text))


def _arrays(shape: str) -> list[Array]:
    """Return the array of a type, or the arrays of a tuple."""
    arrays = re.findall(r"\b([a-z]+\d*)\[([\d,]*)\](\{[^}]*\})?", shape)
    return [Array(kind, tuple(map(int, filter(None, sizes.split(",")))), layout) for kind, sizes, layout in arrays]
