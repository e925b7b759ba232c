"""The interface of a modality: how files become records, and records a network's input.

Worker processes import this and every modality: none of them imports JAX, Flax or TFDS at its head, which would cost
each process 200 MB and two seconds.
"""

import dataclasses
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Shaped

from mumu_jax.config import Config
from mumu_jax.data.manifest import Album, Rejected
from mumu_jax.errors import UserError
from mumu_jax.system.workers import LIMIT_S

T = TypeVar("T")


@dataclass(frozen=True)
class Content:
    """An item's file or text as read: the fields of its record, and numbers that a summary adds up.

    `damaged` is a file beside it that could not be used, and why; the record is made without it.  `likeness` is that of
    the modality, in hexadecimal digits; `read_item` adds it.
    """

    fields: dict[str, Any]
    counts: Mapping[str, float] = field(default_factory=dict)
    damaged: tuple[Path, Rejected] | None = None
    likeness: str = ""


@dataclass(frozen=True)
class Read:
    """A user's own file as read: the records that the network sees, or the reason why there are none.

    A song has a record for each of the patches that cover it; every other file has one.
    """

    path: Path
    records: list[dict[str, Any]]
    seconds: float = 0.0
    error: str = ""


# --- the fields of a record ---------------------------------------------------------------------------------


class Field(ABC):
    """A field of a record: its TFDS feature, its value as byte strings of a `tf.train.Example`, and back."""

    @abstractmethod
    def feature(self, tfds: Any) -> Any:
        """Return the feature of `tfds`, the package, which is not imported where records are made or read."""

    @abstractmethod
    def encode(self, value: Any) -> list[bytes]:
        """Return the byte strings of a value."""

    @abstractmethod
    def decode(self, stored: Sequence[Any]) -> Any:
        """Return the value that `encode` was given."""

    def check(self, value: Any) -> None:  # noqa: B027  most accept everything that is made
        """Raise Rejected if a value cannot be stored."""


@dataclass(frozen=True)
class Tensor(Field):
    """An array of a fixed dtype and shape; None stands for any length."""

    shape: tuple[int | None, ...]
    dtype: Any

    def feature(self, tfds: Any) -> Any:
        return tfds.features.Tensor(shape=self.shape, dtype=self.dtype, encoding=tfds.features.Encoding.BYTES)

    def check(self, value: np.ndarray) -> None:
        expected = (np.dtype(self.dtype), len(self.shape))
        lengths = zip(self.shape, value.shape, strict=False)
        if (value.dtype, value.ndim) != expected or any(n not in (None, found) for n, found in lengths):
            found = f"{value.dtype} {list(value.shape)}"
            raise Rejected("malformed", f"expected {np.dtype(self.dtype)} {list(self.shape)}, found {found}")
        check_finite(value)

    def encode(self, value: np.ndarray) -> list[bytes]:
        return [value.tobytes()]

    def decode(self, stored: Sequence[Any]) -> np.ndarray:
        return np.frombuffer(stored[0], self.dtype).reshape([-1 if n is None else n for n in self.shape])


@dataclass(frozen=True)
class Text(Field):
    """A string; `encode` keeps what is not valid Unicode (surrogates from file names)."""

    def feature(self, tfds: Any) -> Any:
        return tfds.features.Text()

    def encode(self, value: str) -> list[bytes]:
        return [value.encode("utf-8", "surrogatepass")]

    def decode(self, stored: Sequence[Any]) -> str:
        return bytes(stored[0]).decode("utf-8", "surrogatepass")


@dataclass(frozen=True)
class Texts(Field):
    """Any number of strings."""

    def feature(self, tfds: Any) -> Any:
        return tfds.features.Sequence(tfds.features.Text())

    def encode(self, value: Sequence[str]) -> list[bytes]:
        return [text.encode("utf-8", "surrogatepass") for text in value]

    def decode(self, stored: Sequence[Any]) -> tuple[str, ...]:
        return tuple(bytes(text).decode("utf-8", "surrogatepass") for text in stored)


class Cutting(NamedTuple):
    """The way to cut random patches out of records: `frames(record)` is the array [frames, …] that they are cut from.

    `start(n_frames, uniform)` is a patch's first frame.  A shorter record is repeated, or filled up with `filling`.
    """

    frames: Callable[[Mapping[str, Any]], np.ndarray]
    start: Callable[[int, float], int]
    filling: float | None


@dataclass(frozen=True)
class Spec:
    """The shape and dtype of an array, as `jax.ShapeDtypeStruct` has them."""

    shape: tuple[int, ...]
    dtype: np.dtype


# --- modalities ---------------------------------------------------------------------------------------------


class Modality(ABC):
    """One kind of network input, made of records: `config.<name>` holds its settings.

    `fitted` is what `fit` returned: whatever an input needs of the training data, None for most.  A modality has no
    state of its own, and its methods may be sent to other processes.
    """

    name: ClassVar[str]
    item: ClassVar[str]  # of what there is a record: track or album
    settings: ClassVar[type]
    sections: ClassVar[tuple[str, ...]]  # the sections of Config that it reads
    # The settings outside its sections that it alone reads, by their dotted names
    own_settings: ClassVar[frozenset[str]] = frozenset()
    sees: ClassVar[str]  # the things it is made of, in words, for a model card
    streamed: ClassVar[bool] = False  # items are read when they are needed, by `fill`; else a split is held in memory

    @abstractmethod
    def shape(self, config: Config, fitted: Any) -> Any:
        """Return the shape and dtype of an item's input: a Spec, or a tree of them."""

    @abstractmethod
    def arrays(self, records: Iterable[Mapping[str, Any]], config: Config, fitted: Any) -> Any:
        """Return the inputs [n, …] of records that are held in memory."""

    def fill(
        self, record: Mapping[str, Any], out: Shaped[np.ndarray, "..."], uniform: float | None, config: Config
    ) -> None:
        """Write the input of a stored record to `out`, if `streamed`.

        `uniform` (0 <= uniform < 1) asks for a random part of the record; without it, it is always the same part.
        """
        raise NotImplementedError(f"{self.name} is not streamed")

    def cutting(self, config: Config) -> Cutting | None:
        """Return the way that `fill` cuts random parts, for whole records on the devices; None if it cuts none."""
        return None

    def summary(self, records: Iterable[Mapping[str, Any]], config: Config, fitted: Any) -> Any:
        """Return what a linear classifier sees of stored records: float32 [n, d] or Sparse, None if there is no such.

        By default, that is the input of records that are held in memory.
        """
        return None if self.streamed else self.arrays(records, config, fitted)

    def fit(self, records: Iterable[Mapping[str, Any]], folder: Path, config: Config) -> Any:
        """Fit what the inputs need on the training records of the prepared data in `folder`.  Raises UserError."""
        return None

    def save(self, fitted: Any, workdir: Path) -> None:  # noqa: B027  most have nothing to write
        """Write what `load` needs to the run's folder."""

    def load(self, workdir: Path, config: Config) -> Any:
        """Return what `save` was given."""
        return None

    def columns(self, config: Config, fitted: Any) -> tuple[str, ...]:
        """Return the names of an input's numbers, if an input is a vector."""
        (width,) = self.shape(config, fitted).shape
        return tuple(f"{self.name} {i + 1}" for i in range(width))

    @abstractmethod
    def describe(self, config: Config, fitted: Any) -> tuple[str, str]:
        """Return the input in plain words, and a line of Python that makes an example, for a model card."""


class PreparedModality(Modality):
    """A modality whose records are made from files by `prepare`, stored in DATA/`name`."""

    files: ClassVar[str]  # a user's files in words: "audio", ".txt"
    versions: ClassVar[Mapping[str, str]]  # of the libraries that all numbers depend on
    shard_records: ClassVar[int]  # at most this much is done again after a kill
    counts: ClassVar[tuple[str, ...]] = ()  # the names in Content.counts
    in_process: ClassVar[bool] = False  # read in this process: others would take more memory and time than they save
    has_likeness: ClassVar[bool] = False  # its records are compared between splits, by `likeness` and `alike`
    likeness_words: ClassVar[tuple[str, str]]  # of those that have one: what they are, and how they are alike
    by_default: ClassVar[bool] = True  # prepared without being asked for
    presets: ClassVar[Mapping[str, Any]] = {}  # settings by a name that `prepare --<modality>.preset` gives
    uses_gazetteer: ClassVar[bool] = False  # a gazetteer is kept beside the records
    # Settings that matter when records are read, not when they are made.
    later_settings: ClassVar[frozenset[str]] = frozenset()
    # Those of them that nothing stored depends on: each network may have its own.
    free_settings: ClassVar[frozenset[str]] = frozenset()

    @property
    def unit(self) -> str:
        return f"{self.item}s"

    @abstractmethod
    def inputs(self, album: Album, folder: Path) -> Iterator[tuple[str, Any]]:
        """Yield the id and input of each item of an album; an input of None is missing.  `folder` is DATA/`name`."""

    @abstractmethod
    def read(self, source: Any, settings: Any) -> Content:
        """Read an input; called by `read_item`, which checks the content.  Raises Rejected."""

    def exists(self, source: Any) -> bool:
        """Return True if an input is there to be read, without reading it."""
        return os.path.exists(source)

    def state(self, source: Any) -> Any:
        """Return what, beside the settings, the content depends on, as JSON; asked before a shard is made again."""
        return path_state(source)

    def versions_of(self, sources: Iterable[Any]) -> Mapping[str, str]:
        """Return the versions of the libraries that the numbers made of these inputs depend on."""
        return self.versions

    @abstractmethod
    def fields(self, settings: Any) -> dict[str, Field]:
        """Return the fields of a record, beside its ids and labels."""

    def encode(self, values: Mapping[str, Any], settings: Any) -> dict[str, list[bytes]]:
        """Return each field as the byte strings of a `tf.train.Example`."""
        return {name: one.encode(values[name]) for name, one in self.fields(settings).items()}

    def decode(self, stored: Mapping[str, Any], settings: Any) -> dict[str, Any]:
        """Return the fields that `encode` was given."""
        return {name: one.decode(stored[name]) for name, one in self.fields(settings).items()}

    def check(self, settings: Any) -> None:
        """Raise UserError on settings that cannot be prepared with, before the first file is read."""

    def statistics(self, records: Iterable[dict[str, Any]], settings: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return the (mean, std) of training records that standardise the inputs; (0, 1) leaves them as they are."""
        return np.zeros((), np.float32), np.ones((), np.float32)

    def likeness(self, fields: Mapping[str, Any], settings: Any) -> bytes:
        """Return a record's fingerprint, if `has_likeness`: as many bytes for every record."""
        raise NotImplementedError(f"{self.name} has no likeness")

    def alike(self, a: Sequence[bytes], b: Sequence[bytes]) -> Iterator[tuple[int, int]]:
        """Yield, in order, each (i, j) for which `a[i]` and `b[j]` are likenesses of the same thing."""
        raise NotImplementedError(f"{self.name} has no likeness")

    @abstractmethod
    def is_one(self, path: Path) -> bool:
        """Return True if a user's file is of this modality, by its name."""

    def is_inside(self, path: Path) -> bool:
        """Return True if a user's file of another modality may hold one of this, too, by its name."""
        return False

    @abstractmethod
    def read_file(self, path: Path, config: Config, fitted: Any) -> Read:
        """Read a user's own file, as the run's training data was read; called by `read_own`.  Raises Rejected."""


@dataclass(frozen=True)
class Reader:
    """A modality's way to know and to read a user's files, as its methods do, with a run's settings.

    Files are read in other processes, unless `in_process`.
    """

    files: str
    is_one: Callable[[Path], bool]
    read: Callable[[Path], Read]
    in_process: bool
    is_inside: Callable[[Path], bool]


def read_item(modality: PreparedModality, source: Any, settings: Any) -> Content | Rejected:
    """Read an input and check what was made of it, in any process: what passes can be stored and trained on.

    One bad file must not abort an overnight run: every fault but a UserError is returned.
    """

    def read() -> Content:
        content = modality.read(source, settings)
        for name, one in modality.fields(settings).items():
            one.check(content.fields[name])
        if not modality.has_likeness:
            return content
        return dataclasses.replace(content, likeness=modality.likeness(content.fields, settings).hex())

    return _or_rejected(read)


def read_own(modality: PreparedModality, path: Path, config: Config, fitted: Any) -> Read:
    """Read a user's own file and check what was made of it, as `read_item`."""

    def read() -> Read:
        read = modality.read_file(path, config, fitted)
        for record in read.records:
            for value in record.values():
                check_finite(value)
        return read

    made = _or_rejected(read)
    return Read(path, [], error=str(made)) if isinstance(made, Rejected) else made


def check_finite(value: Any) -> None:
    """Raise Rejected if an array holds NaN or an infinite number."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "f" and not np.isfinite(value).all():
        n_bad = int(value.size - np.isfinite(value).sum())
        raise Rejected("nan", f"{n_bad:,} of the {value.size:,} numbers made of it are not finite")


def _or_rejected(make: Callable[[], T]) -> T | Rejected:
    """Return what `make` makes, or why it cannot; raises a UserError as it is."""
    try:
        return make()
    except UserError:
        raise
    except Rejected as rejected:
        return rejected
    except Exception as error:
        return Rejected("crashed", f"{type(error).__name__}: {error}")


def path_state(path: Path) -> tuple[str, tuple[int, int] | None]:
    """Return the `state` of an input that is a file: its path, and the state of the file there."""
    return os.path.abspath(path), file_state(path)


def file_state(path: Path) -> tuple[int, int] | None:
    """Return size and time of the last change of a file: if they differ, it is read again."""
    try:
        stat = path.stat()
    except (OSError, ValueError):
        return None
    return stat.st_size, stat.st_mtime_ns


def died(item: Any) -> Rejected:
    """Return the rejection of an item whose reading kills the process, or does not end."""
    return Rejected("crashed", f"the process that read it died, or was stopped after {LIMIT_S / 60:g} minutes, twice")


def names_of(modalities: Collection[str]) -> str:
    """Join modalities as `config.modality` names them."""
    return "+".join(modalities)
