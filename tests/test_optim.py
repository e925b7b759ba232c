"""The optimizers against PyTorch's: the same steps from the same gradients; the falling rate; what does not train."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict

from mumu_jax.compute.optim import make_optimizer
from mumu_jax.compute.stages import stages_of
from mumu_jax.config import OptimSettings

N_STEPS, EPOCH_STEPS = 20, 3
SETTINGS = {
    "sgd": OptimSettings(algorithm="sgd", learning_rate=0.1, momentum=0.9, weight_decay=1e-4),
    "sgd without decay": OptimSettings(algorithm="sgd", learning_rate=0.1, momentum=0.5),
    "adamw": OptimSettings(algorithm="adamw", learning_rate=0.01, weight_decay=0.01),
    "adam": OptimSettings(algorithm="adam", learning_rate=0.01, b1=0.8, b2=0.99, eps=1e-6),
    "adam with decay": OptimSettings(algorithm="adam", learning_rate=0.01, weight_decay=0.1),
    "sgd, falling": OptimSettings(algorithm="sgd", learning_rate=0.1, weight_decay=0.01, decay_epochs=2),
    "adamw, falling": OptimSettings(
        algorithm="adamw", learning_rate=0.01, weight_decay=0.1, decay_epochs=1, decay_factor=0.5
    ),
}


def random_tree(rng):
    """Parameters, or gradients, of three layers: kernels and biases."""
    shapes = {"conv1": {"kernel": (2, 3), "bias": (3,)}, "bn1": {"scale": (3,)}, "output": {"bias": (4,)}}
    return jax.tree.map(
        lambda shape: rng.standard_normal(shape).astype(np.float32),
        shapes,
        is_leaf=lambda node: isinstance(node, tuple),
    )


def steps(tx, params, gradients):
    """The parameters after each of the updates, and the optimizer's last state."""
    state, update, path = tx.init(params), jax.jit(tx.update), []
    for gradient in gradients:
        updates, state = update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        path.append(params)
    return path, state


def torch_steps(torch, settings, params, gradients):
    """The same of `torch.optim`, whose parameters are in the order of `params`'s leaves."""
    leaves = [torch.tensor(leaf) for leaf in jax.tree.leaves(params)]
    peer = {
        "sgd": lambda: torch.optim.SGD(
            leaves,
            settings.learning_rate,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            nesterov=True,
        ),
        "adam": lambda: torch.optim.Adam(
            leaves, settings.learning_rate, (settings.b1, settings.b2), settings.eps, settings.weight_decay
        ),
        "adamw": lambda: torch.optim.AdamW(
            leaves, settings.learning_rate, (settings.b1, settings.b2), settings.eps, settings.weight_decay
        ),
    }[settings.algorithm]()
    n_steps = settings.decay_epochs * EPOCH_STEPS or N_STEPS + 1
    rate = torch.optim.lr_scheduler.StepLR(peer, n_steps, settings.decay_factor)
    for gradient in gradients:
        for leaf, its in zip(leaves, jax.tree.leaves(gradient), strict=True):
            leaf.grad = torch.tensor(its)
        peer.step()
        rate.step()
        yield [leaf.numpy().copy() for leaf in leaves]


@pytest.mark.parametrize("name", SETTINGS)
def test_steps_equal_pytorchs(name):
    torch = pytest.importorskip("torch", reason="PyTorch, whose steps these are, is not installed")
    settings, rng = SETTINGS[name], np.random.default_rng(0)
    params, gradients = random_tree(rng), [random_tree(rng) for _ in range(N_STEPS)]
    ours, _ = steps(make_optimizer(settings, epoch_steps=EPOCH_STEPS), params, gradients)
    for found, expected in zip(ours, torch_steps(torch, settings, params, gradients), strict=True):
        for leaf, its in zip(jax.tree.leaves(found), expected, strict=True):
            np.testing.assert_allclose(leaf, its, rtol=1e-5, atol=1e-6)


def test_sgd_by_hand():
    """Nesterov's momentum of the gradient with the decay in it, which biases have as weights do."""
    settings = OptimSettings(algorithm="sgd", learning_rate=0.1, momentum=0.9, weight_decay=0.5)
    rng = np.random.default_rng(1)
    params, gradients = random_tree(rng), [random_tree(rng) for _ in range(3)]
    found, _ = steps(make_optimizer(settings), params, gradients)
    for path, p in flatten_dict(params).items():
        velocity = np.zeros_like(p)
        for step, gradient in enumerate(gradients):
            with_decay = flatten_dict(gradient)[path] + 0.5 * p
            velocity = 0.9 * velocity + with_decay
            p = p - 0.1 * (with_decay + 0.9 * velocity)
            np.testing.assert_allclose(flatten_dict(found[step])[path], p, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("algorithm", ["sgd", "adamw", "adam"])
def test_the_rate_falls_after_whole_epochs(algorithm):
    """With gradients that are always 1 and no momentum, a step is as long as the rate."""
    settings = OptimSettings(algorithm, learning_rate=0.1, momentum=0, b1=0, b2=0, decay_epochs=2, decay_factor=0.5)
    params = {"w": jnp.zeros(())}
    path, _ = steps(make_optimizer(settings, epoch_steps=3), params, [{"w": jnp.ones(())}] * 15)
    lengths = -np.diff([0, *(float(p["w"]) for p in path)])
    np.testing.assert_allclose(lengths, [0.1] * 6 + [0.05] * 6 + [0.025] * 3, rtol=1e-4)


def test_stages_equal_pytorchs():
    """Won et al. 2020: Adam, then SGD, whose momentum stays when its learning rate falls."""
    torch = pytest.importorskip("torch", reason="PyTorch, whose steps these are, is not installed")
    settings = OptimSettings(
        learning_rate=0.01, weight_decay=0.1, max_epochs=5, later="sgd:0.1@40%,sgd:0.01@60%,sgd:0.001@80%"
    )
    rng = np.random.default_rng(3)
    params, gradients = random_tree(rng), [random_tree(rng) for _ in range(5 * EPOCH_STEPS)]
    path, _ = steps(make_optimizer(settings, epoch_steps=EPOCH_STEPS), params, gradients)
    first = 2 * EPOCH_STEPS
    adam, sgd = replace(settings, later=""), replace(settings, later="", algorithm="sgd", learning_rate=0.1)
    expected = [*torch_steps(torch, adam, params, gradients[:first])]
    tree, falling = jax.tree.structure(params), replace(sgd, decay_epochs=1)  # by 0.1
    expected += torch_steps(torch, falling, jax.tree.unflatten(tree, expected[-1]), gradients[first:])
    for found, its in zip(path, expected, strict=True):
        for leaf, other in zip(jax.tree.leaves(found), its, strict=True):
            np.testing.assert_allclose(leaf, other, rtol=1e-5, atol=1e-6)


def test_stages_of_a_short_run():
    """A run of one epoch stays in its first stage; of stages that begin at once, the last one counts."""
    settings = OptimSettings(later="sgd:1e-3@40%,sgd:1e-4@50%")
    assert [stage.first_epoch for stage in stages_of(replace(settings, max_epochs=1))] == [0, 1, 1]
    tenths = replace(settings, later="sgd:1e-3@16.1%", max_epochs=1000)
    assert stages_of(tenths)[1].first_epoch == 161
    settings = replace(settings, max_epochs=2, weight_decay=0.0, momentum=0.0)
    path, _ = steps(make_optimizer(settings), {"w": jnp.zeros(())}, [{"w": jnp.ones(())}] * 2)
    np.testing.assert_allclose(path[1]["w"] - path[0]["w"], -1e-4, rtol=1e-3)


@pytest.mark.parametrize("algorithm", ["sgd", "adamw", "adam"])
def test_what_does_not_train_stays_and_has_no_moments(algorithm):
    settings = OptimSettings(algorithm, learning_rate=0.1, weight_decay=0.1, decay_epochs=1)
    rng = np.random.default_rng(2)
    params, gradients = random_tree(rng), [random_tree(rng) for _ in range(5)]
    path, state = steps(make_optimizer(settings, "output|bn1/scale", EPOCH_STEPS), params, gradients)
    before, after = flatten_dict(params), flatten_dict(path[-1])
    for name, leaf in after.items():
        if name in (("output", "bias"), ("bn1", "scale")):
            assert (leaf != before[name]).all()
        else:
            np.testing.assert_array_equal(leaf, before[name])
    moments = sorted(leaf.shape for leaf in jax.tree.leaves(state) if leaf.shape)
    n_moments = 1 if algorithm == "sgd" else 2
    assert moments == sorted([(3,), (4,)] * n_moments)
    # What trains does as it would if it were alone.
    alone, _ = steps(make_optimizer(settings, "", EPOCH_STEPS), params, gradients)
    np.testing.assert_array_equal(after["output", "bias"], alone[-1]["output"]["bias"])
