"""BERT: the states that PyTorch and Hugging Face give with the same weights, what is frozen, and files of any size."""

import dataclasses
import importlib.util
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import REPOSITORY, run_python
from flax import linen as nn
from flax.traverse_util import flatten_dict
from safetensors.numpy import save_file
from torch_weights import by_name

from mumu_jax.batch import Batch
from mumu_jax.compute.network import Constants, Network, Standardisation, item_network, see
from mumu_jax.compute.optim import make_optimizer
from mumu_jax.compute.state import abstract_variables, create_state, n_values
from mumu_jax.compute.step import train_chunk, train_step
from mumu_jax.config import BertSettings, Config, ModelSettings, OptimSettings, TargetSettings
from mumu_jax.errors import UserError
from mumu_jax.fields import flatten, validate
from mumu_jax.models.attention import Attention, attend
from mumu_jax.models.bert import Bert, Encoder, build_encoder
from mumu_jax.models.head import Shallow
from mumu_jax.models.layouts import BERT
from mumu_jax.models.pretrained import adopt, convert, expected_sources, sizes_of
from mumu_jax.models.registry import FAMILIES, Output
from mumu_jax.objectives.logits import Logistic
from mumu_jax.runs.output_layer import is_frozen_before_output
from mumu_jax.training.weights import check_weights, load_for, load_pretrained, start_from_weights

SIZES = {"layers": 3, "width": 32, "inner": 96, "n_tokens": 50, "positions": 20}
SMALL = BertSettings(**SIZES, heads=4)
ITEM = {"lyrics": jax.ShapeDtypeStruct((16,), jnp.int32)}


def made_up(sizes=SIZES, seed=0) -> dict[str, np.ndarray]:
    """The tensors of a published file: no bias is zero, no norm is one."""
    rng = np.random.default_rng(seed)

    def tensor(name, shape):
        x = rng.standard_normal(shape).astype(np.float32)
        if name.endswith("LayerNorm.weight"):
            return 1 + x / 4
        return x / 4 if len(shape) == 1 or "embeddings" in name else x / np.float32(shape[1]) ** 0.5

    sources = expected_sources("bert", 1, tuple(sizes.items())).items()
    return {name: tensor(name, shape) for path, (name, shape) in sources if path[1] == "encoder"}


def texts(n_tokens=50, lengths=(16, 9, 1, 16), seed=0):
    """Ids [texts, 16], padded."""
    ids = np.random.default_rng(seed).integers(1, n_tokens, (len(lengths), 16)).astype(np.int32)
    return jnp.asarray(np.where(np.arange(16) < np.array(lengths)[:, None], ids, 0))


def small(**how) -> Encoder:
    return Encoder(**SIZES, heads=4, **how)


def of_encoder(tensors):
    return {"params": convert("bert", tensors, "here")["params"]["encoder"]}


def test_parameter_count():
    """Of BERT-base, by hand.

    Words, places and types 30,522 + 512 + 2 vectors of 768, and a norm, 2 × 768: 23,837,184.  A layer: queries, keys,
    values and output 4 × (768 + 1) × 768, the perceptron 769 × 3,072 + 3,073 × 768, two norms 2 × 1,536: 7,087,872.
    The published 109,482,240 are with the pooler, 769 × 768 = 590,592.
    """
    variables = jax.eval_shape(Encoder().init, jax.random.key(0), jnp.zeros((1, 8), jnp.int32))
    assert n_values(variables) == 23_837_184 + 12 * 7_087_872 == 108_891_648 == 109_482_240 - 590_592
    sources = expected_sources("bert", 1)
    assert sum(np.prod(s.shape, dtype=int) for path, s in sources.items() if path[1] == "encoder") == 108_891_648


def states_of_pytorch(tensors, sizes, ids):
    """Hugging Face's states, where transformers is installed, else those of PyTorch's own layers."""
    torch = pytest.importorskip("torch", reason="PyTorch, whose states these are, is not installed")
    given = torch.tensor(np.asarray(ids), dtype=torch.int64)
    with torch.no_grad():
        if importlib.util.find_spec("transformers"):
            from transformers import BertConfig, BertModel  # pyright: ignore[reportMissingImports]

            settings = {"hidden_size": sizes.width, "num_hidden_layers": sizes.layers, "vocab_size": sizes.n_tokens}
            settings |= {"num_attention_heads": sizes.heads, "intermediate_size": sizes.inner}
            model = BertModel(BertConfig(**settings, max_position_embeddings=sizes.positions), add_pooling_layer=False)
            model.load_state_dict({name: torch.tensor(array) for name, array in tensors.items()})
            return model.eval()(given, attention_mask=(given != 0).long()).last_hidden_state.numpy()
        from benchmarks.torch_bert import Encoder as Peer

        peer = Peer(sizes)
        peer.load_published(tensors)
        return peer.eval()(given).numpy()


@pytest.mark.parametrize(
    "sizes",
    [SIZES, pytest.param(SIZES | {"layers": 12, "width": 768, "inner": 3072}, marks=pytest.mark.full)],
    ids=["small", "base"],
)
def test_states_equal_pytorchs(sizes):
    tensors, ids = made_up(sizes), texts()
    encoder = Encoder(**sizes, heads=sizes["width"] // 8 if sizes == SIZES else 12)
    states = np.asarray(jax.jit(encoder.apply)(of_encoder(tensors), ids))
    expected = states_of_pytorch(tensors, BertSettings(**sizes, heads=encoder.heads), ids)
    real = np.asarray(ids != 0)
    assert states.dtype == np.float32
    assert np.abs(states - expected)[real].max() <= 2e-6 * np.abs(expected[real]).max()


def test_gradients_equal_pytorchs():
    """Of each parameter, from the states of the tokens."""
    torch = pytest.importorskip("torch", reason="PyTorch, whose gradients these are, is not installed")
    from benchmarks.torch_bert import Encoder as Peer

    tensors, ids = made_up(), texts()
    peer, gradients = Peer(SMALL).train(), Peer(SMALL)
    peer.load_published(tensors)
    weights = (
        np.random.default_rng(1).standard_normal((*ids.shape, 32)).astype(np.float32) * np.asarray(ids != 0)[..., None]
    )
    (peer(torch.tensor(np.asarray(ids))) * torch.tensor(weights)).sum().backward()

    def loss(params):
        return jnp.sum(small().apply({"params": params}, ids) * weights)

    params = jax.tree.map(jnp.asarray, of_encoder(tensors)["params"])
    gradients.load_published(by_name({"params": {"encoder": jax.jit(jax.grad(loss))(params)}}, BERT))
    for (name, ours), theirs in zip(gradients.named_parameters(), peer.parameters(), strict=True):
        difference, size = (float(one.detach().norm()) for one in (ours - theirs.grad, theirs.grad))
        assert difference <= 1e-5 * size, name


def test_padding_changes_no_state():
    variables, ids = of_encoder(made_up()), texts()
    apply = jax.jit(small().apply)
    states = apply(variables, ids)
    for text, its_states in zip(ids, states, strict=True):
        n = int((text != 0).sum())
        np.testing.assert_allclose(apply(variables, text[None, :n])[0], its_states[:n], rtol=1e-5, atol=1e-6)


def test_a_text_without_a_token():
    network = Bert(small(), n_outputs=3, unit_output=False)
    ids = texts(lengths=(0, 5))
    variables = jax.jit(network.init)(jax.random.key(0), ids)

    def loss(params):
        output, embedding = network.apply({"params": params}, ids)
        return jnp.square(output).sum(), embedding

    (_, embedding), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(variables["params"])
    np.testing.assert_array_equal(embedding[0], 0)
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(gradients))


def test_ids_beyond_the_vocabulary_are_not_other_words():
    states = small().apply(of_encoder(made_up()), jnp.array([[3, 50], [3, 4]], jnp.int32))
    assert bool(jnp.isnan(states[0]).any())
    assert bool(jnp.isfinite(states[1]).all())


def test_attention_by_hand():
    """Of one sequence to another one, in float64."""
    rng = np.random.default_rng(0)
    queries, keys, values = (rng.normal(size=(2, n, 12)).astype(np.float32) for n in (3, 5, 5))
    mask = np.array([[True, False, True, True, False], [False] * 5])
    found = attend(*map(jnp.asarray, (queries, keys, values)), heads=3, mask=jnp.asarray(mask))
    np.testing.assert_array_equal(found[1], 0)
    for head in (slice(0, 4), slice(4, 8), slice(8, 12)):
        q, k, v = (x[0, :, head].astype(np.float64) for x in (queries, keys, values))
        weights = np.exp(q @ k.T / 2) * mask[0]
        np.testing.assert_allclose(found[0, :, head], weights / weights.sum(1, keepdims=True) @ v, rtol=2e-6, atol=1e-6)
    every = attend(*map(jnp.asarray, (queries, keys, values)), heads=3, mask=jnp.ones_like(mask))
    np.testing.assert_array_equal(every, attend(*map(jnp.asarray, (queries, keys, values)), heads=3))


def test_attention_to_another_sequence_has_gradients_without_any_key():
    layer = Attention(width=8, heads=2, use_bias=False)
    x, context = jnp.ones((2, 3, 5)), jax.random.normal(jax.random.key(1), (2, 4, 6))
    mask = jnp.array([[True, True, False, False], [False] * 4])
    variables = layer.init(jax.random.key(0), x, context, mask)
    assert {path: leaf.shape for path, leaf in flatten_dict(variables["params"], sep="/").items()} == {
        **{"query/kernel": (5, 8), "key/kernel": (6, 8), "value/kernel": (6, 8)}
    }
    assert layer.apply(variables, x, context, mask).shape == (2, 3, 8)
    gradients = jax.grad(lambda v, c: jnp.sum(layer.apply(v, x, c, mask) ** 2), argnums=(0, 1))(variables, context)
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(gradients))
    np.testing.assert_array_equal(gradients[1] != 0, jnp.broadcast_to(mask[..., None], context.shape))


def test_dropout_belongs_to_the_item():
    encoder, variables, ids = small(dropout=0.3), of_encoder(made_up()), texts()
    keys = jax.random.split(jax.random.key(0), len(ids))
    apply = jax.jit(encoder.apply)
    states = apply(variables, ids, keys)
    np.testing.assert_allclose(apply(variables, ids[1:3], keys[1:3]), states[1:3], rtol=1e-4, atol=1e-5)
    assert float(jnp.abs(states - apply(variables, ids)).max()) > 0.1
    np.testing.assert_array_equal(apply(variables, ids), jax.jit(small().apply)(variables, ids))


def test_bfloat16_comes_near_and_float32_is_not_rounded():
    variables, ids = of_encoder(made_up()), texts()
    exact, rounded = (jax.jit(small(dtype=dtype).apply)(variables, ids) for dtype in (jnp.float32, jnp.bfloat16))
    assert rounded.dtype == jnp.float32
    assert 0 < float(jnp.linalg.norm(rounded - exact) / jnp.linalg.norm(exact)) < 0.02
    lines = jax.jit(small().apply).lower(variables, ids).as_text().splitlines()
    products = [line for line in lines if "dot_general" in line]
    assert products
    assert [line for line in products if "HIGHEST" not in line] == []


# --- frozen -----------------------------------------------------------------------------------------------------


def config_of(**how) -> Config:
    model = ModelSettings(family="bert", dropout=0.1, bert=dataclasses.replace(SMALL, **how))
    return Config(name="some", modality="lyrics", model=model, target=TargetSettings(kind="logistic"))


CONSTANTS = Constants({"lyrics": Standardisation(jnp.zeros(()), jnp.ones(()))}, {})


def batch_of(ids) -> Batch:
    labels = jnp.asarray(np.arange(3) == np.arange(len(ids))[:, None] % 3, jnp.uint8)
    return Batch({"lyrics": jnp.asarray(ids)}, labels, jnp.ones(len(ids)))


def test_steps_with_a_frozen_encoder():
    """It stays, has no moments, and its states are those without dropout; the last layer learns."""
    network = item_network(config_of(frozen=True), 3, {})
    tx = make_optimizer(OptimSettings(learning_rate=0.1), network.trainable)
    state, batch = create_state(network, tx, ITEM, seed=0), batch_of(texts())
    chunk = jax.tree.map(lambda leaf: jnp.stack([leaf] * 20), batch)
    stepped, losses = jax.jit(lambda state: train_chunk(state, chunk, CONSTANTS, network, tx))(state)
    assert losses[-1] < 0.2 * losses[0]
    for before, after in zip(*map(jax.tree.leaves, (state.params["encoder"], stepped.params["encoder"])), strict=True):
        np.testing.assert_array_equal(before, after)
    n_moments = sum(leaf.size for leaf in jax.tree.leaves(state.opt_state) if leaf.ndim)
    assert n_moments == 2 * n_values(state.params["output"]) == 2 * 3 * (SMALL.width + 1)
    keys, variables = jax.random.split(jax.random.key(0), 4), {"params": state.params["encoder"]}
    encoder = build_encoder(config_of(frozen=True).model)
    np.testing.assert_array_equal(encoder.apply(variables, texts(), keys), encoder.apply(variables, texts()))


def operations(network) -> float:
    """Floating-point operations of a step, as the compiler counts them."""
    tx = make_optimizer(OptimSettings(), network.trainable)
    state = create_state(network, tx, ITEM, seed=0)
    step = jax.jit(lambda state, batch: train_step(state, batch, CONSTANTS, network, tx))
    return step.lower(state, batch_of(texts())).compile().cost_analysis()["flops"]


def test_a_frozen_encoder_has_no_backward_pass():
    network = item_network(config_of(frozen=True), 3, {})
    variables = network.model.init(jax.random.key(0), texts())
    forward = jax.jit(network.model.apply).lower(variables, texts()).compile().cost_analysis()["flops"]
    assert operations(network) < 1.2 * forward
    assert operations(item_network(config_of(), 3, {})) > 2 * forward


def test_a_step_trains_all_of_an_encoder_that_is_not_frozen():
    network = item_network(config_of(), 3, {})
    assert network.trainable == ""
    tx = optax.sgd(1.0)
    state = create_state(network, tx, ITEM, seed=0)
    stepped, _ = jax.jit(lambda state: train_step(state, batch_of(texts()), CONSTANTS, network, tx))(state)
    stays = {
        path
        for path, leaf in flatten_dict(state.params, sep="/").items()
        if bool((leaf == flatten_dict(stepped.params, sep="/")[path]).all())
    }
    # The softmax does not see what is added to all logits of a query: rounding alone moves these, or does not.
    assert stays <= {f"encoder/layer_{i}/attention/key/bias" for i in range(3)}


@pytest.mark.parametrize(("trainable", "trains"), [("", True), ("^output", True), ("bias$", True), ("dense|x", True)])
def test_what_trains_beside_a_frozen_encoder(trainable, trains):
    settings = dataclasses.replace(config_of(frozen=True).model, trainable=trainable)
    assert bool(re.search(settings.trained, "output/dense/bias")) == trains
    for path in ("encoder/layer_0/output/bias", "encoder/x/dense/bias", "encoder/word_embeddings"):
        assert not re.search(settings.trained, path)
    assert re.search(settings.trained, "coder/bias") or trainable in ("^output", "dense|x")


def test_only_the_last_layer_of_a_frozen_text_network_trains():
    assert is_frozen_before_output(item_network(config_of(frozen=True), 3, {}), ITEM)
    assert not is_frozen_before_output(item_network(config_of(), 3, {}), ITEM)


def test_ids_are_not_standardised():
    network = item_network(config_of(), 3, {})
    seen = see(network, {"lyrics": jnp.asarray(texts())}, CONSTANTS)
    assert seen.dtype == jnp.int32
    np.testing.assert_array_equal(seen, texts())


# --- settings and files -----------------------------------------------------------------------------------------


def test_settings():
    settings = FAMILIES["bert"].settings
    assert {"bert.layers", "bert.frozen", "weights", "dropout", "precision"} <= settings <= {*flatten(ModelSettings())}
    validate(config_of())
    with pytest.raises(UserError, match=r"config.model.bert.heads is 5, which does not divide .*width=32; change"):
        validate(config_of(heads=5))
    with pytest.raises(UserError, match=r"config.model.bert.layers is 0; it must be above 0"):
        validate(config_of(layers=0))


def old(tensors):
    """The names of the oldest files, with what else they hold."""
    renamed = {
        "bert." + name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): one
        for name, one in tensors.items()
    }
    more = {"cls.predictions.bias": np.zeros(3), "bert.pooler.dense.weight": np.zeros((3, 3))}
    return renamed | more | {"bert.embeddings.position_ids": np.arange(20)[None]}


def test_names_of_all_files_give_the_same_variables():
    tensors = made_up()
    expected = flatten_dict(convert("bert", tensors, "here"))
    assert {path[:2] for path in expected} == {("params", "encoder")}
    for names in (old(tensors), {f"module.{name}": one for name, one in old(tensors).items()}):
        assert sizes_of("bert", names) == SIZES
        found = flatten_dict(convert("bert", names, "here"))
        assert found.keys() == expected.keys()
        assert all(np.array_equal(found[path], leaf) for path, leaf in expected.items())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: {n: one for n, one in t.items() if ".1." not in n}, "16 tensors are missing .*16 are left over"),
        (lambda t: t | {"encoder.layer.7.output.dense.bias": np.zeros(32)}, "16 tensors are missing"),
        (lambda t: t | {"embeddings.position_embeddings.weight": np.zeros((20, 31))}, r"another shape \(.*\(20, 31\)"),
        (lambda t: t | {"embeddings.word_embeddings.weight": np.zeros(50)}, "tensors are missing"),
        (lambda t: t | {"embeddings.word_embeddings.weight": np.zeros((50, 0), np.float32)}, "tensors are missing"),
        (lambda t: t | {"embeddings.LayerNorm.bias": np.full(32, np.nan)}, "'embeddings.LayerNorm.bias' .*not finite"),
        (lambda t: t | {"qa_outputs.bias": np.zeros(2)}, r"1 are left over \(qa_outputs.bias\)"),
        (lambda t: {}, "tensors are missing"),
    ],
)
def test_every_tensor_is_checked(change, says):
    with pytest.raises(UserError, match=says) as caught:
        convert("bert", change(made_up()), "here.npz")
    assert "\n" not in str(caught.value)


def test_another_networks_file_is_told():
    with pytest.raises(UserError, match="it looks like bert: pass --model=bert"):
        convert("alexnet", made_up(), "here.npz")


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """A published file, converted by the command, and what that printed."""
    folder = tmp_path_factory.mktemp("bert")
    save_file(old(made_up()), folder / "model.safetensors", {"format": "pt"})
    arguments = (f"--from={folder / 'model.safetensors'}", "--model=bert", f"--out={folder / 'bert.safetensors'}")
    done = run_python(REPOSITORY / "scripts" / "convert_weights.py", *arguments, "--heads=4")
    assert done.returncode == 0, done.stderr
    for wrong, says in (("--heads=5", "5 heads do not divide the width, 32; give --heads"), ("--heads=0", "0 heads")):
        refused = run_python(REPOSITORY / "scripts" / "convert_weights.py", *arguments, wrong)
        assert refused.returncode == 2
        assert says in refused.stderr
    return folder / "bert.safetensors", done.stdout


def test_converted_file(converted):
    path, printed = converted
    options = [f"--config.model.bert.{name}={size}" for name, size in (SIZES | {"heads": 4}).items()]
    assert "bert, 34,240 parameters, 0 running statistics, no last layer; from model.safetensors" in printed
    assert printed.splitlines()[1].split() == options
    pretrained = load_pretrained(path)
    assert (pretrained.model, pretrained.sizes) == ("bert", SIZES | {"heads": 4})
    other = dataclasses.replace(config_of(layers=2, heads=8).model, weights=str(path))
    with pytest.raises(UserError) as caught:
        load_for(other)
    assert str(caught.value).endswith("give --config.model.bert.layers=3 --config.model.bert.heads=4")


class Joint(nn.Module):
    """A network with an encoder and a layer of its own."""

    encoder: Encoder
    n_outputs: int
    unit_output: bool

    @nn.compact
    def __call__(self, ids, dropout_keys=None):
        x = nn.Dense(7, name="own")(self.encoder(ids, dropout_keys).mean(axis=1))
        return Shallow(self.n_outputs, self.unit_output, name="output")(x)


def test_training_starts_from_the_encoder_alone(converted, monkeypatch, capsys):
    """In the text network and in any other that has it."""

    def build(settings: ModelSettings, output: Output) -> Joint:
        return Joint(build_encoder(settings), output.size, output.unit)

    monkeypatch.setitem(FAMILIES, "joint", FAMILIES["bert"]._replace(build=build))
    path, _ = converted
    expected = load_pretrained(path).params["encoder"]
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("data",))
    for family in ("bert", "joint"):
        config = config_of()
        config.model = dataclasses.replace(config.model, family=family, weights=str(path))
        network = item_network(config, 3, {})
        source = check_weights(config, network, ITEM)
        state = create_state(network, optax.identity(), ITEM, seed=0)
        started = start_from_weights(state, config.model, source, mesh)
        assert "with random weights after the encoder" in capsys.readouterr().err
        for name, leaf in flatten_dict(started.params, sep="/").items():
            before = flatten_dict(state.params, sep="/")[name]
            is_published = name.startswith("encoder/")
            its = flatten_dict({"encoder": expected}, sep="/")[name] if is_published else before
            np.testing.assert_array_equal(leaf, its)
            assert (leaf != before).any() == is_published


def test_a_network_without_an_encoder_refuses_its_weights(converted):
    path, _ = converted
    network = Network(Shallow(3, unit_output=False), Logistic())
    item = {"timbre": jax.ShapeDtypeStruct((48,), jnp.float32)}
    with pytest.raises(UserError, match="the weights do not fit the network: params/encoder/"):
        adopt(abstract_variables(network, item), load_pretrained(path).variables)
