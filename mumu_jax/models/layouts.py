"""The names and shapes of tensors in published files of weights, by network."""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

Rules = tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]  # regular expressions and replacements
Shape = tuple[int, ...]


class Order(NamedTuple):
    """The order of a kernel's axes in a file; ours are its spatial axes (frames before bins), inputs, outputs."""

    axes: Callable[[int], tuple[int, ...]]  # of a kernel of so many axes: our axis at each of the file's
    outputs: int  # the file's axis of outputs


PYTORCH = Order(lambda n: (n - 1, n - 2, *range(n - 2)), 0)
PYTORCH_BINS_FIRST = Order(lambda n: tuple(reversed(range(n))), 0)
TENSORFLOW = Order(lambda n: tuple(range(n)), -1)
PYTORCH_LEAVES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
TENSORFLOW_LEAVES = {"scale": "gamma", "mean": "moving_mean", "var": "moving_variance"}


class Layout(NamedTuple):
    """The names of tensors in published files: of images, torchvision's (and timm's)."""

    head: str  # name of the last dense layer
    names: Rules  # from our path, joined by dots, to the name
    aliases: Rules = ()  # from names in other files to the name
    leaves: Mapping[str, str] = PYTORCH_LEAVES  # from the last part of our path
    separator: str = "."  # of the parts of a name
    order: Order = PYTORCH
    squeezed: str = r"(?!)"  # a regular expression: kernels with these names have no axis for one input channel
    unused: str = r"\.num_batches_tracked$"  # a regular expression: tensors that no network needs

    def shape(self, name: str, ours: Shape) -> Shape:
        """Return the shape in the file of our kernel."""
        shape = tuple(ours[axis] for axis in self.order.axes(len(ours)))
        return shape[:1] + shape[2:] if re.search(self.squeezed, name) else shape

    def kernel(self, name: str, tensor: np.ndarray) -> np.ndarray:
        """Return a file's kernel with our axes."""
        tensor = tensor[:, None] if re.search(self.squeezed, name) else tensor
        return tensor.transpose(np.argsort(self.order.axes(tensor.ndim)))


RESNET = Layout(
    "fc",
    ((r"_(?=\d)", "."),),
    (  # Hugging Face's
        (r"^(resnet\.)?(?=embedder|encoder)", ""),
        (r"^embedder\.embedder\.convolution\.", "conv1."),
        (r"^embedder\.embedder\.normalization\.", "bn1."),
        (r"^encoder\.stages\.(\d+)\.layers\.", lambda m: f"layer{int(m[1]) + 1}."),
        (r"\.layer\.(\d+)\.convolution\.", lambda m: f".conv{int(m[1]) + 1}."),
        (r"\.layer\.(\d+)\.normalization\.", lambda m: f".bn{int(m[1]) + 1}."),
        (r"\.shortcut\.convolution\.", ".downsample.0."),
        (r"\.shortcut\.normalization\.", ".downsample.1."),
        (r"^classifier\.1\.", "fc."),
    ),
)
DENSENET = Layout(
    "classifier",
    ((r"_(?=denselayer|norm|conv)", "."), (r"^", "features.")),
    ((r"(denselayer\d+\.(?:norm|conv))\.(?=[12]\.)", r"\1"),),  # the published files are older than the names
)
ALEXNET = Layout("classifier.6", ((r"_(?=\d)", "."),))
VIT = Layout(
    "heads.head",
    (
        (r"^(?=pos_embedding|ln\.)", "encoder."),
        (r"^(?=encoder_layer)", "encoder.layers."),
        (r"\.in_proj\.", ".self_attention.in_proj_"),
        (r"\.out_proj\.", ".self_attention.out_proj."),
        (r"\.mlp_", ".mlp."),
    ),
    ((r"\.linear_1\.", ".0."), (r"\.linear_2\.", ".3.")),  # the published files are older than the names
)

# Hugging Face's; the oldest files have gamma and beta.
BERT = Layout(
    "",  # the files hold the encoder, and heads for other tasks
    (
        (r"^encoder\.(\w+_embeddings)$", r"embeddings.\1.weight"),
        (r"^encoder\.layer_norm\.", "embeddings.LayerNorm."),
        (r"\.layer_(\d+)\.", r".layer.\1."),
        (r"\.attention\.", ".attention.self."),
        (r"\.attention_output\.", ".attention.output.dense."),
        (r"\.attention_norm\.", ".attention.output.LayerNorm."),
        (r"\.intermediate\.", ".intermediate.dense."),
        (r"\.output\.(?=weight$|bias$)", ".output.dense."),
        (r"\.output_norm\.", ".output.LayerNorm."),
    ),
    ((r"^bert\.", ""), (r"\.gamma$", ".weight"), (r"\.beta$", ".bias")),
    unused=r"(^|\.)((pooler|cls)\.|embeddings\.position_ids$)",
)

# What PyTorch's own wrappers (DataParallel, torch.compile) put before the names of what they wrap.
WRAPPERS: Rules = ((r"(^|\.)(module\.|_orig_mod\.)+", r"\1"),)

# --- mel spectrograms -------------------------------------------------------------------------------------------

# TensorFlow numbers layers of a kind in the order in which they were made.
_IN_TENSORFLOW: Rules = ((r"(batch_normalization\w*)\.bias$", r"\1.beta"), (r"_0(?=\.)", ""))
_PONS = ("timbral_38", "timbral_67", "temporal_128", "temporal_64", "temporal_32", "cnn1", "cnn2", "cnn3")
MUSICNN = Layout(
    "dense_1",
    (
        (r"^input_bn\.", "batch_normalization_0."),
        *((rf"^{name}\.bn\.", f"batch_normalization_{i}.") for i, name in enumerate(_PONS, start=1)),
        *((rf"^{name}\.", f"conv2d_{i}.") for i, name in enumerate(_PONS)),
        (r"^pool_bn\.", "batch_normalization_9."),
        (r"^dense_bn\.", "batch_normalization_10."),
        *_IN_TENSORFLOW,
    ),
    leaves=TENSORFLOW_LEAVES,
    separator="/",
    order=TENSORFLOW,
)
VGG = Layout(
    "dense",
    (
        (r"^input_bn\.", "batch_normalization_0."),
        (r"^bn(\d)\.", r"batch_normalization_\1."),
        (r"^conv(\d)\.", r"\1CNN."),
        *_IN_TENSORFLOW,
    ),
    leaves=TENSORFLOW_LEAVES,
    separator="/",
    order=TENSORFLOW,
)
_WON = ("timbral_67", "timbral_38", "temporal_129", "temporal_65", "temporal_33")
_WON_INPUT: Rules = ((r"^input_bn\.", "spec_bn."),)
_WON_UNUSED = rf"{Layout._field_defaults['unused']}|^spec\."  # the window and the filter bank of the spectrogram
MUSICNN_WON = Layout(
    "dense2",
    (
        *_WON_INPUT,
        *((rf"^{name}\.", f"layers.{i}.") for i, name in enumerate(_WON)),
        (r"^cnn(\d)\.", r"layer\1."),
        (r"^(layers?\.?\d\.)(?!bn\.)", r"\1conv."),
        (r"^dense\.", "dense1."),
        (r"^dense_bn\.", "bn."),
    ),
    order=PYTORCH_BINS_FIRST,
    squeezed=r"^layers\.[234]\.|^layer\d\.",
    unused=_WON_UNUSED,
)
TAGGER = Layout(
    "dense",
    (
        *_WON_INPUT,
        (r"^gru(\d)\.input\.(weight|bias)$", r"layer5.\2_ih_l\1"),
        (r"^gru(\d)\.recurrent_kernel$", r"layer5.weight_hh_l\1"),
        (r"^gru(\d)\.recurrent_bias$", r"layer5.bias_hh_l\1"),
    ),
    order=PYTORCH_BINS_FIRST,
    unused=_WON_UNUSED,
)
SHORT_CHUNK = Layout(
    "dense2",
    (*_WON_INPUT, (r"^dense\.", "dense1."), (r"^dense_bn\.", "bn.")),
    order=PYTORCH_BINS_FIRST,
    unused=_WON_UNUSED,
)
