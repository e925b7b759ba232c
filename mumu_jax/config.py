"""The settings of an experiment: typed, each with its default, its range and where they come from.

The dataclasses are not frozen, because `--config.optim.learning_rate=3e-4` assigns to them; nothing assigns
after the command line has been read.  The comment beside a field, or above it, is what `train --help` says of it.
"""

import dataclasses
import math
import re
from dataclasses import dataclass
from typing import Any

from mumu_jax.errors import UserError
from mumu_jax.fields import not_negative, positive, setting, share


def check_heads(settings: Any, where: str) -> None:
    """Raise UserError unless the heads of an attention divide its width."""
    if settings.width % settings.heads:
        raise UserError(
            f"{where}.heads is {settings.heads}, which does not divide {where}.width={settings.width}; change one of "
            "them"
        )


def check_patch(settings: Any, where: str) -> None:
    """Raise UserError if a patch has more frames than an excerpt, whose first frame is centred on its start."""
    n_frames = 1 + int(settings.excerpt_s * settings.sr_hz) // settings.hop_length
    if settings.patch_frames > n_frames:
        raise UserError(
            f"{where}.patch_frames is {settings.patch_frames}, more than the {n_frames} of {settings.excerpt_s:g} s of "
            "audio; choose fewer"
        )


@dataclass
class AudioSettings:
    """The settings that make prepared audio.  Shards carry these, and the loader refuses shards made with others.

    Oramas et al. 2017, section 5.1, and the authors' code.
    """

    front_end: str = "cqt"  # the transform of a frame
    sr_hz: int = positive(22_050)
    hop_length: int = positive(1024)
    n_bins: int = positive(96)
    bins_per_octave: int = positive(12)
    fmin_hz: float = positive(32.70319566257483)  # C1, librosa's default
    # the librosa release whose transform is computed; librosa-1.0 halves the sample rate in fewer cases
    cqt: str = setting("librosa-0.11", ("librosa-0.11", "librosa-1.0"))
    # the lowest level, below the excerpt's maximum; it also pads a short track
    floor_db: float = setting(-80.0, high=math.nextafter(0, -1))
    excerpt_s: float = positive(30.0)  # MuMu's previews; longer files are cut into excerpts of this length
    patch_frames: int = positive(322)  # frames of a network input: ⌊15 s · 22,050 Hz / 1,024⌋
    patch_seed: int = not_negative(0)  # a track's fixed patch starts at hash(track, patch_seed)

    def check(self, where: str) -> None:
        """Raise UserError if a patch is longer than an excerpt."""
        check_patch(self, where)

    @property
    def filling(self) -> float:
        """The value of frames that a patch has and its track has not."""
        return self.floor_db


@dataclass
class MelSettings:
    """The settings that make prepared mel spectrograms.  The defaults are those of musicnn (Pons & Serra 2019).

    Other published settings are in `mumu_jax/compression.py`.  Levels are absolute, except with `level=db_max`.
    """

    sr_hz: int = positive(16_000)
    n_fft: int = positive(512)  # the periodic Hann window's length, too
    hop_length: int = positive(256)
    n_bins: int = positive(96)  # mel bands
    fmin_hz: float = not_negative(0.0)
    fmax_hz: float = positive(8000.0)
    scale: str = setting("slaney", ("slaney", "htk"))  # slaney: linear below 1 kHz, logarithmic above
    norm: str = setting("area", ("area", "peak"))  # what the triangles of all bands share: area, or largest value
    # what the network sees: power, log10(1 + 10,000 × power), dB, or dB below the largest value
    level: str = setting("log10000", ("power", "log10000", "db", "db_max"))
    floor_db: float = setting(-100.0, high=math.nextafter(0, -1))  # the lowest level of db, and of db_max
    excerpt_s: float = positive(30.0)
    patch_frames: int = positive(187)  # frames of a network input: 2.992 s
    patch_seed: int = not_negative(0)  # a track's fixed patch starts at hash(track, patch_seed)

    @property
    def filling(self) -> None:
        """None: a track that is shorter than a patch is repeated, as in musicnn's training."""

    def check(self, where: str) -> None:
        """Raise UserError if the bands do not fit the rate, or if a patch is longer than an excerpt."""
        if not self.fmin_hz < self.fmax_hz <= self.sr_hz / 2:
            raise UserError(
                f"{where}.fmin_hz and fmax_hz are {self.fmin_hz:g} and {self.fmax_hz:g}; expected a range within 0 and "
                f"{self.sr_hz / 2:g}, half of sr_hz"
            )
        check_patch(self, where)


@dataclass
class DescriptorsSettings:
    """The settings that make prepared descriptors.  Bahuleyan 2018, and the author's code."""

    sr_hz: int = setting(22_050, above=12_800)  # the last band of the contrast begins at 6,400 Hz
    excerpt_s: float = positive(30.0)  # a longer song is described by the mean over its excerpts


@dataclass
class TextSettings:
    """The settings that make prepared text.  Oramas et al. 2017, section 5.2, and the authors' code."""

    max_chars: int = positive(1000)  # of all reviews of an album, joined


@dataclass
class LyricsSettings:
    """The settings that make prepared lyrics: vocabularies are fitted later, when training starts."""

    max_chars: int = positive(5000)  # the beginning of a song's lyrics; most are whole


@dataclass
class TimbreSettings:
    """The settings that make prepared timbre: there are none.  Oramas et al. 2017, section 6.1."""


@dataclass
class ImageSettings:
    """The settings that make prepared covers.  The short side is scaled to 256, as in fb.resnet.torch's validation."""

    side_px: int = setting(256, low=32)  # the centre square; the rest is lost to training too, which is a deviation


@dataclass
class FusionSettings:
    """The runs whose feature vectors a fusion joins, one a modality.  Oramas et al. 2017, section 5.4."""

    # whose vectors are joined; one alone is for networks of another kind, such as boosted trees
    modalities: str = setting(
        "audio+text+image",
        (
            *("audio+text", "audio+image", "text+image", "audio+text+image", "mel+lyrics", "audio+lyrics"),
            *("audio", "mel", "descriptors", "timbre", "text", "image", "lyrics"),
        ),
    )
    missing: str = setting("drop", ("drop", "mask"))  # drop albums that miss one, or mask: zeros replace it

    @property
    def names(self) -> list[str]:
        """The modalities in the order in which their vectors are joined."""
        return self.modalities.split("+")


@dataclass
class TfidfSettings:
    """A text network's view of the prepared text.  Oramas et al. 2017, section 5.2, and the authors' code."""

    categories: bool = False  # VSM+SEM: the categories of the entities in the text count as words, one each
    n_terms: int = positive(10_000)  # the most frequent words of the training texts
    max_df: float = setting(0.5, above=0, high=1)  # leave out words in more than this share of the texts


@dataclass
class TokenSettings:
    """A network's view of the prepared lyrics: ids of word pieces.  The defaults are those of BERT-base, uncased."""

    vocabulary: str = ""  # a BERT's vocab.txt; "": word pieces fitted on the training lyrics
    n_terms: int = setting(30_522, low=100)  # pieces at most
    max_tokens: int = setting(128, low=3)  # the first of a song, with [CLS] before and [SEP] behind them
    lower_case: bool = True  # convert texts to lower case and remove accents


@dataclass
class AugmentSettings:
    """Random changes of images in training: those of fb.resnet.torch, with which Oramas et al. 2017 fine-tuned."""

    size_px: int = setting(224, low=32)  # of the network's view, in training and after
    min_area: float = setting(0.08, above=0, high=1)  # of the random crop, a share of the image; 1: no crop
    max_aspect: float = setting(4 / 3, low=1)  # width over height of the crop, up to this or one over it
    colour: float = share(0.4)  # brightness, contrast and saturation change by up to this share
    lighting: float = not_negative(0.1)  # standard deviation along the principal components of ImageNet's colours
    rotation_deg: float = setting(0.0, low=0, high=180)  # up to this, either way
    flip: bool = True  # left and right, half of the images


@dataclass
class JointSettings:
    """Networks of two modalities: Ru et al. 2023, who publish only `contrast`, and Nguyen & Okatani 2018."""

    width: int = positive(256)  # of the attention
    heads: int = positive(1)
    attention: bool = True  # of each modality to the other; else the means of both are joined
    fuse: str = setting("flatten", ("flatten", "mean"))  # all places of both side by side, or their means
    fused: int = positive(512)  # width of the vector of both
    contrast: float = share(0.3)  # the share of the contrastive loss in the whole one
    projection: int = positive(256)  # width in which the contrastive loss compares
    depth: int = positive(3)  # layers of co-attention
    empty: int = positive(3)  # learned places that attention may choose in the place of real ones

    def check(self, where: str) -> None:
        """Raise UserError unless the heads divide the width."""
        check_heads(self, where)


@dataclass
class BertSettings:
    """The encoder of networks that read tokens.  Devlin et al. 2019, BERT-base; published weights fix all sizes."""

    layers: int = positive(12)
    width: int = positive(768)
    heads: int = positive(12)
    inner: int = positive(3072)  # width of the hidden layer of each perceptron
    n_tokens: int = positive(30_522)  # of the vocabulary; uncased
    positions: int = positive(512)  # the most tokens of a text
    frozen: bool = False  # do not train it, nor apply dropout in it; it is stored once, beside the checkpoints

    def check(self, where: str) -> None:
        """Raise UserError unless the heads divide the width."""
        check_heads(self, where)


@dataclass
class ModelSettings:
    """The network that sees the items.

    `kernel` and `width` are the CNN's, and `width_divisor` also that of tagging networks of 3 × 3 convolutions; `depth`
    is ResNet's; `bert` is the encoder of tokens; `rounds`, `tree_depth` and `subsample` are those of boosted trees.
    """

    family: str = "cnn"  # the kind of network
    kernel: str = "4x70"  # frames × bins
    width: str = "high"  # number of filters
    width_divisor: int = setting(1, (1, 2, 4, 8, 16, 32))  # divide the number of filters by this; for quick trials
    pooling: str = setting("flatten", ("flatten", "statistics"))  # what the CNN's dense layer sees
    # network: a second network on the mean vectors of albums; mean: the mean of the tracks' outputs, not normalised
    albums: str = setting("network", ("network", "mean"))
    depth: int = setting(101, (10, 14, 18, 34, 50, 101, 152))  # 10 and 14 are small ones, without published weights
    bert: BertSettings = dataclasses.field(default_factory=BertSettings)
    rounds: int = positive(500)  # of boosting, at most: a tree for each label in each; Bahuleyan 2018
    tree_depth: int = setting(5, low=1, high=8)  # all trees are stored complete: 2^depth leaves
    subsample: float = setting(0.8, above=0, high=1)  # the share of the items that a tree is grown on
    joint: JointSettings = dataclasses.field(default_factory=JointSettings)
    weights: str = ""  # a file that scripts/convert_weights.py wrote; "": start from random weights
    trainable: str = ""  # a regular expression: parameters whose path has no match stay as they are; "" matches all
    # Oramas et al. 2017: 0.5 for HIGH with COSINE (6.1), 0.7 for fusion (6.4); the authors' code: 0.5 for text
    dropout: float = share(0.0)
    precision: str = setting("auto", ("auto", "float32", "bfloat16"))  # auto: float32 on a CPU, else bfloat16
    formulations: str = "auto"  # measured, fixed or a run's config.json; auto: fixed on a CPU, else measured

    @property
    def trained(self) -> str:
        """The expression that finds what trains: `trainable`, but nothing in an encoder that is frozen."""
        return rf"^(?!encoder/).*(?:{self.trainable})" if self.bert.frozen else self.trainable

    def check(self, where: str) -> None:
        """Raise UserError if `trainable` is not a regular expression."""
        try:
            for expression in (self.trainable, self.trained):
                re.compile(expression)
        except re.error as error:
            raise UserError(
                f"{where}.trainable is {self.trainable!r}, not a regular expression: {error}; correct it"
            ) from error


@dataclass
class TargetSettings:
    """The objective: what the network's output means, and its loss."""

    # cosine: the distance from label factors; logistic: each label by itself; softmax, shares: the one label of an item
    kind: str = "cosine"
    n_factors: int = positive(50)  # Oramas et al. 2017, section 6; fewer if the label matrix has a smaller rank
    # graph: the last layer's weights are those that a graph network makes of the genres; Ru et al. 2023
    head: str = setting("dense", ("dense", "graph"))
    # of the graph's genres: label factors, or the published BERT's vectors of their names; auto: names if there is one
    label_features: str = setting("auto", ("auto", "factors", "names"))


ALGORITHMS = ("adam", "adamw", "sgd")


@dataclass
class OptimSettings:
    """Adam and early stopping, as in the authors' code.  `b1`, `b2` and `eps` are Adam's, `momentum` is SGD's."""

    algorithm: str = setting("adam", ALGORITHMS)  # adamw: decay apart from the gradient; sgd: Nesterov's
    learning_rate: float = positive(1e-3)
    b1: float = share(0.9)
    b2: float = share(0.999)
    eps: float = positive(1e-8)
    momentum: float = share(0.9)
    weight_decay: float = not_negative(0.0)  # of all weights and biases
    decay_epochs: int = not_negative(0)  # after each so many, multiply the learning rate by decay_factor; 0: never
    decay_factor: float = setting(0.1, above=0, high=1)
    later: str = ""  # stages after the first: "sgd:1e-3@40%" is SGD from 40 % of the epochs on
    batch_size: int = positive(32)  # global: over all devices
    max_epochs: int = positive(100)
    patience: int = positive(4)  # stop after so many epochs without a gain on the validation split
    patience_steps: int = not_negative(0)  # and after at least so many steps without one: epochs of few songs are short
    min_steps: int = not_negative(0)  # no earlier epoch is the best one: on a few validation songs, one is by chance
    select: str = setting("loss", ("loss", "roc_auc"))  # what a gain is: a smaller loss, or a larger ROC-AUC


@dataclass
class LoopSettings:
    """The host's part in training."""

    chunk_steps: int = positive(32)  # optimisation steps compiled into one scan; the host acts between chunks
    checkpoint_minutes: float = not_negative(10.0)  # at most this much work is done again after a kill


@dataclass
class DataSettings:
    """The way of the prepared data to the devices."""

    patch: str = setting("fixed", ("fixed", "random"))  # one patch a track for all epochs, or a new one each epoch
    patches: int = not_negative(0)  # of a song that is evaluated or tagged, evenly spaced; 0: evaluate 1, tag all
    standardise: str = setting("position", ("position", "bin"))  # audio: each (frame, bin) by its own mean, or each bin
    mode: str = setting("auto", ("auto", "resident", "streaming"))  # resident: held on the devices; auto: if it fits
    read_threads: int = positive(2)  # that read records; more are slower: they wait for one another's memory


@dataclass
class Config:
    """One experiment: a network for a modality's items, which are tracks or albums.

    Tracks have a second network, the shallow one on the mean feature vector of an album's tracks.
    """

    name: str = ""
    modality: str = "audio"  # what the network sees; several joined by "+" are trained jointly
    seed: int = not_negative(0)  # initial weights, dropout, order of the examples
    parallel: str = setting("auto", ("auto", "jit", "pmap"))  # how a step is split over the devices; auto: jit
    audio: AudioSettings = dataclasses.field(default_factory=AudioSettings)
    mel: MelSettings = dataclasses.field(default_factory=MelSettings)
    descriptors: DescriptorsSettings = dataclasses.field(default_factory=DescriptorsSettings)
    text: TextSettings = dataclasses.field(default_factory=TextSettings)
    lyrics: LyricsSettings = dataclasses.field(default_factory=LyricsSettings)
    timbre: TimbreSettings = dataclasses.field(default_factory=TimbreSettings)
    image: ImageSettings = dataclasses.field(default_factory=ImageSettings)
    fusion: FusionSettings = dataclasses.field(default_factory=FusionSettings)
    augment: AugmentSettings = dataclasses.field(default_factory=AugmentSettings)
    tfidf: TfidfSettings = dataclasses.field(default_factory=TfidfSettings)
    tokens: TokenSettings = dataclasses.field(default_factory=TokenSettings)
    data: DataSettings = dataclasses.field(default_factory=DataSettings)
    model: ModelSettings = dataclasses.field(default_factory=ModelSettings)
    target: TargetSettings = dataclasses.field(default_factory=TargetSettings)
    optim: OptimSettings = dataclasses.field(default_factory=OptimSettings)
    # training of the album network, the second one of tracks (Oramas et al. 2017, section 5.1, step 3)
    album_optim: OptimSettings = dataclasses.field(default_factory=OptimSettings)
    loop: LoopSettings = dataclasses.field(default_factory=LoopSettings)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The modalities that the network sees."""
        return tuple(self.modality.split("+"))

    @property
    def names_labels(self) -> bool:
        """True if a graph's genres are described by their names."""
        has_bert = "lyrics" in self.inputs and bool(self.model.weights and self.tokens.vocabulary)
        return {"auto": has_bert}.get(self.target.label_features, self.target.label_features == "names")


# Settings that change how fast a run goes, but not what it computes (`parallel`: but for rounding, as another number of
# devices does): a run may resume with others.
SPEED_ONLY = frozenset({"loop.checkpoint_minutes", "data.read_threads", "data.mode", "parallel"})
