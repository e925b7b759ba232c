"""Every named experiment's network under one contract: shapes, gradients, precision, dropout."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_items import EACH, UNIQUE, random_inputs, shallow, small_config

from mumu_jax.batch import Sparse
from mumu_jax.experiments import load_experiments, read_parameter_counts
from mumu_jax.models import family_of
from mumu_jax.models.cnn import CNN, VARIANTS
from mumu_jax.models.head import Shallow, dropout
from mumu_jax.models.kernels.backend import traced_for
from mumu_jax.models.kernels.precision import compute_dtype
from mumu_jax.models.pretrained import SIDE_PX
from mumu_jax.models.registry import Output
from mumu_jax.objectives import make_objective
from mumu_jax.runs.settings import MUMU_LABELS, count_params

EXPERIMENTS = load_experiments()

# ../shared/spec/oramas2017.md, "Audio CNN": derived from the paper's Table 2; text, timbre and
# descriptors counted by hand.
BERT = 108_891_648
# Of Ru et al.'s network: what joins the means of both; attention of both, and what joins all places; the projections
# that the contrastive loss compares, and the temperature; the graph network of 50 factors.
MEANS = (256 + 768) * 512 + 512
ATTENTION = 4 * 768 * 256 + 3 * 256 * 256 + 2 * 512 + (40 + 128) * 256 * 512 + 512
PROJECTIONS = (256 + 768) * 256 + 1
GRAPH = 768 * 512 + 512 * 512
PARAMETERS = {
    "low_3x3": (488_122, 334_322),
    "high_3x3": (16_364_794, 15_545_394),
    "low_4x96": (195_706, 144_306),
    "high_4x96": (4_795_386, 3_975_986),
    "low_4x70": (352_890, 301_490),
    "high_4x70": (7_390_202, 6_570_802),
    # LOW-4x96's 131,456 of the blocks, and the output of the means and deviations, which are normalised:
    # 2 × (96 + 64 + 128 + 128 + 64) = 960.
    "low_4x96_small": (371_706 + 2 * 960, 179_506 + 2 * 960),
    "text_vsm": (25_190_650, 24_780_850),
    "text_vsm_sem": (25_190_650, 24_780_850),
    "timbre_mlp": (12_250, 2_450),
    # The output layer that hands 250 logits on; trees are no parameters.
    **dict.fromkeys(("descriptors_boosted", "timbre_boosted", "fusion_boosted"), (251 * 250,)),
    "descriptors_mlp": ((97 + 1) * 250, (97 + 1) * 50),
    # Features of 4,096, 2,048 and 2,048.
    "fusion_at": (1_536_250, 307_250),
    "fusion_ai": (1_536_250, 307_250),
    "fusion_ti": (1_024_250, 204_850),
    "fusion_ati": (2_048_250, 409_650),
    # ../shared/spec/siblings.md, "Converting weights", less the 1,000 classes' last layer, plus one of 250 or 50.
    "image_resnet101": (44_549_160 - 2049 * 1000 + 2049 * 250, 44_549_160 - 2049 * 1000 + 2049 * 50),
    "covers_alexnet": (61_100_840 - 4097 * 1000 + 4097 * 250,),
    "covers_densenet201": (20_013_928 - 1921 * 1000 + 1921 * 250,),
    "covers_vit_b16": (86_567_656 - 769 * 1000 + 769 * 250,),
    # ../shared/spec/siblings.md, B1 and C1, and pretrained-audio.md, 1.4: published counts of 50 outputs, and 200 more.
    "musicnn": (787_159 + 201 * 200, 787_159),
    "musicnn_mtt": (787_159 + 201 * 200, 787_159),
    "mel_musicnn": (787_159 + 201 * 200, 787_159),
    "mel_vgg": (605_748 + 257 * 200,),
    "mel_musicnn_won": (784_300 + 201 * 200,),
    "mel_fcn": (447_732 + 65 * 200,),
    "mel_crnn": (394_100 + 33 * 200,),
    "mel_short_chunk": (3_687_348 + 513 * 200,),
    "mel_short_chunk_residual": (12_104_244 + 513 * 200,),
    "mel_cnn_choi": (865_950 + 257 * 200,),
    # By hand: of BERT's encoders, and ../shared/spec/siblings.md, A2 and B2, of joint networks.
    "lyrics_bert": (BERT + 769 * 250,),
    "lyrics_small": ((8000 + 512 + 2 + 2) * 128 + 2 * (4 * 129 * 128 + 4 * 128 + 129 * 512 + 513 * 128) + 129 * 250,),
    "mel_five_blocks": (1_550_784 + 257 * 250,),
    "fusion_mel_lyrics": ((200 + 768 + 1) * 250,),
    **{
        f"joint_{name}": (
            BERT
            + 1_550_784
            + (ATTENTION if "attention" in name else MEANS)
            + PROJECTIONS * ("contrast" in name)
            + (GRAPH if "graph" in name else 513 * 250),
        )
        for name in (
            "concatenated",
            "contrast",
            "attention",
            "graph",
            "contrast_attention",
            "contrast_graph",
            "attention_graph",
        )
    },
    "joint_cross_attention": (BERT + 1_550_784 + ATTENTION + PROJECTIONS + GRAPH,),
    "joint_small": (2_019_697,),
    "joint_coattention": (BERT + 1_550_784 + 769 * 1024 + 257 * 1024 + 23_104_520 + 1025 * 250,),
    "mel_multiframe_cnn": (865_950 + 257 * 200,),
    "mel_multiframe_crnn": (396_786 + 33 * 200,),
    "mel_crnn_choi": (396_786 + 33 * 200,),  # the README's number; 400,562 with running statistics
}


# Sections 6.1 and 6.4: HIGH's and the fusion's are for cosine targets alone; the album-cover study, section 5, but for
# AlexNet: torchvision's.
DROPOUT = {
    **dict.fromkeys(("audio_high_3x3", "audio_high_4x96", "audio_high_4x70", "text_vsm", "text_vsm_sem"), 0.5),
    **{
        "audio_low_4x96_small": 0.5,
        "audio_musicnn": 0.5,
        "audio_musicnn_mtt": 0.5,
        "mel_crnn_choi": 0.3,
        "mel_multiframe_crnn": 0.3,
    },
    **dict.fromkeys(("mel_musicnn", "mel_vgg", "mel_musicnn_won", "mel_fcn", "mel_crnn"), 0.5),
    **dict.fromkeys(("mel_short_chunk", "mel_short_chunk_residual"), 0.5),
    **{"covers_alexnet": 0.5, "covers_densenet201": 0.7, "covers_vit_b16": 0.7},
    **{"lyrics_bert": 0.1, "lyrics_small": 0.1, "joint_small": 0.1, "joint_coattention": 0.3},
    **dict.fromkeys(("fusion_at", "fusion_ai", "fusion_ti", "fusion_ati"), 0.7),
}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_parameter_count(name):
    config = EXPERIMENTS[name].config
    counts = PARAMETERS[re.sub("^audio_|_(cosine|logistic|softmax|shares)$", "", name)]
    assert count_params(config) == counts[config.target.kind == "cosine"]
    assert read_parameter_counts().get(name) == count_params(config), "add it to configs/parameters.json"


def test_counts_are_of_the_experiments_that_there_are():
    assert list(read_parameter_counts()) == list(EXPERIMENTS)


# An eager pass compiles each operation by itself, which takes as long as all else.
ONE_OF_EACH_FAMILY = {EXPERIMENTS[name].config.model.family: name for name in reversed(UNIQUE)}.values()


@pytest.mark.parametrize("name", EACH)
def test_network_contract(name):
    """Gradients are those of a real step: tests/test_step.py."""
    config = small_config(name)
    objective = make_objective(config.target)
    n_outputs = objective.n_outputs(MUMU_LABELS, {})
    model = shallow(family_of(config).build(config.model, Output(n_outputs, objective.unit_output)))
    inputs = jax.tree.map(jnp.asarray, standardized(random_inputs(config, (2,), np.random.default_rng(1))))
    if config.modality == "image":
        inputs = inputs[:, :SIDE_PX, :SIDE_PX]
    variables = jax.jit(model.init)(jax.random.key(0), inputs)
    keys = jax.random.split(jax.random.key(2), 2)

    def apply(variables):
        return model.apply(variables, inputs, keys), model.apply(variables, inputs)

    (_, embedding), (output, without_dropout) = jax.jit(apply)(variables)
    assert output.shape == (2, n_outputs)
    assert output.dtype == embedding.dtype == jnp.float32
    last = variables["params"].get("output", variables["params"])["dense"]["kernel"]
    assert embedding.shape == (2, last.shape[0])
    if name in ONE_OF_EACH_FAMILY:
        eager, _ = model.apply(variables, inputs)
        np.testing.assert_allclose(eager, output, rtol=1e-4, atol=1e-5 * max(1, float(jnp.abs(eager).max())))
    if config.target.kind == "cosine":
        lengths = [1, 0] if name.startswith("text") else 1  # before training, an empty text has no direction
        np.testing.assert_allclose(jnp.linalg.norm(output, axis=1), lengths, rtol=1e-5)
    dropped = config.model.dropout > 0
    assert (float(jnp.abs(embedding - without_dropout).max()) > 0.01) == dropped
    assert config.model.dropout == DROPOUT.get(re.sub("_(cosine|logistic|softmax|shares)$", "", name), 0) * (
        config.target.kind == "cosine"
        or "small" in name
        or "musicnn" in name
        or not name.startswith(("audio", "fusion"))
    )


def standardized(inputs):
    """As the step gives them to the network."""
    if isinstance(inputs, dict):
        seen = {name: standardized(one) for name, one in inputs.items()}
        return seen if len(seen) > 1 else next(iter(seen.values()))
    if isinstance(inputs, Sparse) or inputs.dtype == np.int32:
        return inputs
    return (inputs.astype(np.float32) - inputs.mean(dtype=np.float32)) / inputs.std(dtype=np.float32)


def test_high_4x70_feature_width():
    """What the fusion concatenates: 4,096 audio features."""
    config = EXPERIMENTS["audio_high_4x70"].config
    model = family_of(config).build(config.model, Output(50, unit=True))
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 322, 96)))
    assert shapes["params"]["output"]["dense"]["kernel"].shape == (4096, 50)


def test_shallow_network_gives_its_input_as_embedding():
    vectors = jax.random.normal(jax.random.key(0), (3, 7))
    model = Shallow(n_outputs=4, unit_output=True)
    output, embedding = model.apply(model.init(jax.random.key(1), vectors), vectors)
    np.testing.assert_array_equal(embedding, vectors)
    np.testing.assert_allclose(jnp.linalg.norm(output, axis=1), 1, rtol=1e-6)


def small_cnn(variant, **how):
    return CNN(variant._replace(filters=(8, 12, 12, 8)), n_outputs=6, unit_output=True, **how)


def loss_output_and_gradients(model, params, patches, backend):
    def loss(params):
        output, _ = model.apply({"params": params}, patches)
        return jnp.mean((output - jnp.linspace(-1, 1, output.shape[1])) ** 2), output

    with traced_for(backend):
        (value, output), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    return value, output, gradients


@pytest.mark.full
@pytest.mark.parametrize(
    "variant",
    list({v[:2]: v for v in VARIANTS.values()}.values()),
    ids=lambda v: "x".join(map(str, v.kernels[0] + v.pools[3])),
)
def test_backends_compute_the_same_and_bfloat16_nearly(variant):
    patches = jax.random.normal(jax.random.key(1), (3, 322, 96))
    params = jax.jit(small_cnn(variant).init)(jax.random.key(0), patches)["params"]
    value, output, gradients = loss_output_and_gradients(small_cnn(variant), params, patches, "cpu")
    _, other, others = loss_output_and_gradients(small_cnn(variant), params, patches, "gpu")
    np.testing.assert_allclose(other, output, atol=2e-6)
    for ours, theirs in zip(jax.tree.leaves(others), jax.tree.leaves(gradients), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5 * float(jnp.abs(theirs).max()))

    for backend in ("cpu", "gpu"):
        half = small_cnn(variant, dtype=jnp.bfloat16)
        rounded_value, rounded, rounded_gradients = loss_output_and_gradients(half, params, patches, backend)
        assert rounded.dtype == jnp.float32
        assert float(jnp.linalg.norm(rounded - output) / jnp.linalg.norm(output)) < 0.02
        assert abs(float(rounded_value / value) - 1) < 0.01
        for name in gradients:
            # Where rounding changes which of a pool's values is largest, the gradient takes another input, and the
            # first layer's are noise.  A bfloat16 `lax.conv` with `reduce_window` comes as near, and no nearer.
            bound = 0.9 if name == "conv0_kernel" else 0.98
            for ours, theirs in zip(*map(jax.tree.leaves, (rounded_gradients[name], gradients[name])), strict=True):
                assert ours.dtype == jnp.float32
                cosine = jnp.vdot(ours, theirs) / jnp.linalg.norm(ours) / jnp.linalg.norm(theirs)
                assert float(cosine) > bound, name


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_float32_products_are_not_rounded_on_accelerators(backend):
    for variant in VARIANTS.values():
        model, patches = small_cnn(variant), jnp.zeros((2, 322, 96))
        params = jax.eval_shape(model.init, jax.random.key(0), patches)
        gradients = jax.jit(jax.grad(lambda params: model.apply(params, patches)[0].sum()))  # noqa: B023
        with traced_for(backend):
            lowered = gradients.lower(params)
        products = [line for line in lowered.as_text().splitlines() if "dot_general" in line or "convolution(" in line]
        assert products
        assert [line for line in products if "HIGHEST" not in line] == []


def test_precision_names():
    assert compute_dtype("float32") == compute_dtype("auto") == jnp.float32  # tests run on a CPU
    assert compute_dtype("bfloat16") == jnp.bfloat16


def test_dropout_belongs_to_the_item():
    x, keys = jnp.ones((6, 40, 50)), jax.random.split(jax.random.key(0), 6)
    dropped = dropout(x, keys, 0.25, layer=1)
    np.testing.assert_array_equal(dropout(x[2:4], keys[2:4], 0.25, layer=1), dropped[2:4])
    assert {float(v) for v in jnp.unique(dropped)} == {0.0, float(jnp.float32(1 / 0.75))}
    assert abs(float(jnp.mean(dropped == 0)) - 0.25) < 0.02
    assert bool(jnp.any(dropped != dropout(x, keys, 0.25, layer=2)))
    assert bool(jnp.any(dropped[0] != dropped[1]))
    assert dropout(x, keys, 0.0, layer=1) is dropout(x, None, 0.25, layer=1) is x
