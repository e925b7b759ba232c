"""Every setting of an experiment, typed, with its default and where that comes from.

The dataclasses are not frozen, because `--config.optim.learning_rate=3e-4` assigns to them; nothing assigns
after the command line has been read.
"""

import dataclasses
import math
import re
from dataclasses import dataclass, field
from typing import Any, get_type_hints

from mumu_jax.errors import UserError


@dataclass
class AudioSettings:
    """What makes the prepared audio.  Shards carry these, and the loader refuses shards made with others.

    Oramas et al. 2017, section 5.1, and the authors' code.
    """

    sr_hz: int = 22_050
    hop_length: int = 1024
    n_bins: int = 96
    bins_per_octave: int = 12
    fmin_hz: float = 32.70319566257483  # C1, librosa's default
    cqt: str = "librosa-0.11"  # whose transform is computed; 1.0 halves the rate in fewer cases
    floor_db: float = -80.0  # below the excerpt's own maximum; also what pads a short track
    excerpt_s: float = 30.0  # MuMu's previews; longer files are cut into excerpts of this length
    patch_frames: int = 322  # ⌊15 s · 22,050 Hz / 1,024⌋
    patch_seed: int = 0  # a track's fixed patch starts at hash(track, patch_seed)


@dataclass
class TextSettings:
    """What makes the prepared text.  Oramas et al. 2017, section 5.2, and the authors' code."""

    max_chars: int = 1000  # of all reviews of an album, joined


@dataclass
class TimbreSettings:
    """What makes the prepared timbre: there is nothing to choose.  Oramas et al. 2017, section 6.1."""


@dataclass
class ImageSettings:
    """What makes the prepared covers.  fb.resnet.torch's validation: the short side to 256."""

    side_px: int = 256  # the centre square; what lies beyond is lost to training too, which is a deviation


@dataclass
class FusionSettings:
    """Which runs' feature vectors a fusion joins, one a modality.  Oramas et al. 2017, section 5.4."""

    modalities: str = "audio+text+image"
    missing: str = "drop"  # albums that lack one of them; mask: zeros take the place of its vector

    @property
    def names(self) -> list[str]:
        """Of the modalities, in the order in which their vectors are joined."""
        return self.modalities.split("+")


@dataclass
class TfidfSettings:
    """What a text network sees of the prepared text.  Oramas et al. 2017, section 5.2, and the authors' code."""

    categories: bool = False  # VSM+SEM: the categories of the entities in the text count as words, one each
    n_terms: int = 10_000  # the most frequent words of the training texts
    max_df: float = 0.5  # but none that is in more than this share of them


@dataclass
class AugmentSettings:
    """How images are changed in training, anew each time.  fb.resnet.torch's, which Oramas et al. 2017 fine-tuned."""

    size_px: int = 224  # what the network sees, in training and after
    min_area: float = 0.08  # of the random crop, a share of the image; 1: no crop
    max_aspect: float = 4 / 3  # width over height of the crop, up to this or one over it
    colour: float = 0.4  # brightness, contrast and saturation change by up to this share
    lighting: float = 0.1  # standard deviation along the principal components of ImageNet's colours
    rotation_deg: float = 0.0  # up to this, either way
    flip: bool = True  # left and right, half of the images


@dataclass
class ModelSettings:
    """The network that sees the items.  `kernel`, `width` and `width_divisor` are the CNN's, `depth` is ResNet's."""

    family: str = "cnn"
    kernel: str = "4x70"  # frames × bins
    width: str = "high"  # number of filters
    width_divisor: int = 1  # of which there are so many times fewer: for trials
    depth: int = 101  # layers; 10 and 14 (bottlenecks) are small ones for small data, without published weights
    weights: str = ""  # what scripts/convert_weights.py wrote; without, the network starts from random weights
    trainable: str = ""  # a regular expression: parameters whose path has no match stay as they are; all match ""
    dropout: float = 0.0  # section 6.1: 0.5 for HIGH with COSINE; the authors' code: 0.5 for text; 6.4: 0.7 for fusion
    precision: str = "auto"  # what the network computes in; auto: bfloat16 on a GPU or TPU, float32 on a CPU


@dataclass
class TargetSettings:
    kind: str = "cosine"
    n_factors: int = 50  # section 6: d = 50; fewer where the label matrix has a smaller rank


@dataclass
class OptimSettings:
    """Adam and early stopping, as in the authors' code.  `b1`, `b2` and `eps` are Adam's, `momentum` is SGD's."""

    algorithm: str = "adam"  # adamw: weight decay apart from the gradient; sgd: Nesterov's
    learning_rate: float = 1e-3
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    momentum: float = 0.9
    weight_decay: float = 0.0  # of all weights and biases; not for adam
    decay_epochs: int = 0  # after each so many, the learning rate is multiplied by `decay_factor`; 0: never
    decay_factor: float = 0.1
    batch_size: int = 32  # global: over all devices
    max_epochs: int = 100
    patience: int = 4  # epochs without a smaller validation loss


@dataclass
class LoopSettings:
    chunk_steps: int = 32  # optimisation steps compiled into one scan; the host acts between chunks
    checkpoint_minutes: float = 10.0  # at most this much work is done again after a kill


@dataclass
class DataSettings:
    patch: str = "fixed"  # one patch a track for all epochs, or a new one each epoch
    mode: str = "auto"  # resident: a split lies on the devices; streaming: it is read anew; auto: resident if it fits
    read_threads: int = 2  # more are slower: they wait for one another's memory


@dataclass
class Config:
    """One experiment: a network for a modality's items, which are tracks or albums.

    Tracks have a second network, the shallow one on the mean feature vector of an album's tracks.
    """

    name: str = ""
    modality: str = "audio"
    seed: int = 0  # initial weights, dropout, order of the examples
    parallel: str = "auto"  # how a step is split over the devices; auto: jit
    audio: AudioSettings = field(default_factory=AudioSettings)
    text: TextSettings = field(default_factory=TextSettings)
    timbre: TimbreSettings = field(default_factory=TimbreSettings)
    image: ImageSettings = field(default_factory=ImageSettings)
    fusion: FusionSettings = field(default_factory=FusionSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    tfidf: TfidfSettings = field(default_factory=TfidfSettings)
    data: DataSettings = field(default_factory=DataSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    target: TargetSettings = field(default_factory=TargetSettings)
    optim: OptimSettings = field(default_factory=OptimSettings)
    album_optim: OptimSettings = field(default_factory=OptimSettings)  # section 5.1, step 3
    loop: LoopSettings = field(default_factory=LoopSettings)

    @property
    def prepared_with(self) -> Any:
        """The settings that the modality's prepared data must have."""
        return getattr(self, self.modality)


# Settings that change how fast a run goes, but not what it computes (`parallel`: but for rounding, as another number of
# devices does): a run may resume with others.
SPEED_ONLY = frozenset({"loop.checkpoint_minutes", "data.read_threads", "data.mode", "parallel"})

# What the values of a field may be; a field's name means the same in every section.
CHOICES = {
    "modality": ("audio", "text", "timbre", "image", "fusion"),
    "modalities": ("audio+text", "audio+image", "text+image", "audio+text+image"),
    "missing": ("drop", "mask"),
    "family": ("cnn", "mlp", "shallow", "resnet", "densenet201", "vit_b16", "alexnet"),
    "kernel": ("4x70", "4x96", "3x3"),
    "width": ("low", "high"),
    "width_divisor": (1, 2, 4, 8, 16, 32),
    "depth": (10, 14, 18, 34, 50, 101, 152),
    "kind": ("cosine", "logistic", "softmax"),
    "cqt": ("librosa-0.11", "librosa-1.0"),
    "algorithm": ("adam", "adamw", "sgd"),
    "patch": ("fixed", "random"),
    "mode": ("auto", "resident", "streaming"),
    "parallel": ("auto", "jit", "pmap"),
    "precision": ("auto", "float32", "bfloat16"),
}
# The networks of each modality.
FAMILIES = {
    "audio": ("cnn",),
    "text": ("mlp",),
    "timbre": ("shallow",),
    "image": ("resnet", "densenet201", "vit_b16", "alexnet"),
    "fusion": ("shallow",),
}
_ABOVE_0 = "above 0", lambda value: 0 < value < math.inf
_AT_LEAST_0 = "at least 0", lambda value: 0 <= value < math.inf
_SHARE = "at least 0 and below 1", lambda value: 0 <= value < 1
RANGES = {
    **dict.fromkeys(("sr_hz", "hop_length", "n_bins", "bins_per_octave", "fmin_hz", "excerpt_s"), _ABOVE_0),
    **dict.fromkeys(("patch_frames", "n_factors", "learning_rate", "eps", "batch_size"), _ABOVE_0),
    **dict.fromkeys(("max_chars", "n_terms"), _ABOVE_0),
    **dict.fromkeys(("max_epochs", "patience", "chunk_steps", "read_threads"), _ABOVE_0),
    **dict.fromkeys(("seed", "patch_seed", "checkpoint_minutes"), _AT_LEAST_0),
    **dict.fromkeys(("weight_decay", "decay_epochs", "lighting"), _AT_LEAST_0),
    **dict.fromkeys(("b1", "b2", "dropout", "momentum", "colour"), _SHARE),
    **dict.fromkeys(("max_df", "min_area", "decay_factor"), ("above 0 and at most 1", lambda value: 0 < value <= 1)),
    **dict.fromkeys(("side_px", "size_px"), ("at least 32", lambda value: value >= 32)),
    "max_aspect": ("at least 1", lambda value: 1 <= value < math.inf),
    "rotation_deg": ("from 0 to 180", lambda value: 0 <= value <= 180),
    "floor_db": ("below 0", lambda value: -math.inf < value < 0),
}


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """The settings as `{"optim.learning_rate": 0.001, …}`, in order of definition."""
    flat = {}
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        if dataclasses.is_dataclass(value):
            flat |= flatten(value, f"{prefix}{f.name}.")
        else:
            flat[prefix + f.name] = value
    return flat


def from_json(cls: Any, tree: dict[str, Any], where: str = "config") -> Any:
    """The dataclass `cls` from `dataclasses.asdict`'s tree; raises UserError on a field it does not have."""
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
    for name, hint in get_type_hints(type(config)).items():
        value = getattr(config, name)
        here = f"{where}.{name}"
        if dataclasses.is_dataclass(hint):
            validate(value, here)
        elif not isinstance(value, hint) or isinstance(value, bool) != (hint is bool):
            raise UserError(f"{here} is {value!r}; it must be of type {hint.__name__}")
        elif name in CHOICES and value not in CHOICES[name]:
            raise UserError(f"{here} is {value!r}; choose one of {', '.join(map(repr, CHOICES[name]))}")
        elif name in RANGES and not RANGES[name][1](value):
            raise UserError(f"{here} is {value!r}; it must be {RANGES[name][0]}")
    if isinstance(config, Config) and config.model.family not in FAMILIES[config.modality]:
        raise UserError(
            f"{where}.model.family is {config.model.family!r}, and {where}.modality {config.modality!r}; "
            f"choose {' or '.join(map(repr, FAMILIES[config.modality]))}, or another experiment"
        )
    if isinstance(config, Config) and config.data.patch == "random" and config.modality != "audio":
        raise UserError(f"{where}.data.patch='random' is for audio, and this is {config.modality}; leave it out")
    if isinstance(config, DataSettings) and (config.mode, config.patch) == ("resident", "random"):
        raise UserError(
            f"{where}.mode='resident' holds one patch a track, and {where}.patch='random' asks for new ones each "
            "epoch; leave one of them out"
        )
    if isinstance(config, OptimSettings) and config.algorithm == "adam" and config.weight_decay:
        raise UserError(f"{where}.weight_decay is for adamw and sgd, and {where}.algorithm is 'adam'; choose another")
    if isinstance(config, ModelSettings):
        _check_pattern(config.trainable, f"{where}.trainable")
    if isinstance(config, AudioSettings) and config.patch_frames * config.hop_length > config.excerpt_s * config.sr_hz:
        raise UserError(f"{where}.patch_frames is {config.patch_frames}, more than {config.excerpt_s:g} s of audio")


def _check_pattern(pattern: str, where: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise UserError(f"{where} is {pattern!r}, which is no regular expression: {error}; mend it") from error
