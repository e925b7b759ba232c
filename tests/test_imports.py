"""Tests of the design's one direction of imports, a rule about folders, and of what the compute side needs."""

import ast
import sys
from functools import cache
from graphlib import TopologicalSorter

from conftest import REPOSITORY, run_python

GROUND = {"config", "fields", "errors", "experiments", "batch", "compression"}
COMMANDS = {
    *("train", "boost", "ensemble", "evaluate", "prepare", "build", "tag", "doctor", "reproduce", "report", "export"),
}
# The folders that each folder may import from, beside itself and the ground.
BELOW = {
    "system": set(),
    "data": {"system"},
    "objectives": set(),
    "models": {"objectives"},
    "compute": {"models", "objectives"},
    "training": {"compute", "models", "objectives", "data", "system"},
    "runs": {"training", "compute", "models", "objectives", "data", "system"},
    "reports": {"runs", "training", "compute", "models", "objectives", "data", "system"},
}
BELOW_IN_DATA = {
    "modalities": set(),
    "sources": {"modalities"},
    "store": {"modalities"},
    "preparation": {"modalities", "sources", "store"},
    "matching": {"modalities", "sources", "store"},
}
BARE_FOLDERS = {"models", "objectives", "compute"}
COMPUTE_PACKAGES = {"jax", "flax", "optax", "numpy", "jaxtyping"}


@cache
def imports() -> dict[str, set[str]]:
    """What each module of the package imports, anywhere in it: by module."""
    files = {file.relative_to(REPOSITORY): file for file in (REPOSITORY / "mumu_jax").rglob("*.py")}
    modules = {".".join(name.with_suffix("").parts).removesuffix(".__init__"): file for name, file in files.items()}
    found = {}
    for module, file in modules.items():
        names = set()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{file} imports relatively"
                inside = {f"{node.module}.{alias.name}" for alias in node.names} & modules.keys()
                names |= inside or {str(node.module)}
        found[module] = {
            n if n.startswith("mumu_jax") else n.partition(".")[0] for n in names
        } - sys.stdlib_module_names
    return found


def folders(names: set[str], inside: str = "mumu_jax") -> set[str]:
    """The folders and modules directly inside the package `inside` among `names`."""
    prefix = inside + "."
    return {name.removeprefix(prefix).split(".")[0] for name in names if name.startswith(prefix)}


def wrong_imports(inside: str, below: dict[str, set[str]], ground: set[str]) -> dict[str, set[str]]:
    """Imports against the one direction, by module, for modules in the folders of `below`."""
    wrong = {}
    for module, names in imports().items():
        for folder in folders({module}, inside) & below.keys():
            wrong[module] = folders(names, inside) - below[folder] - {folder} - ground
    assert len(wrong) > len(below)
    return {module: names for module, names in wrong.items() if names}


def test_every_module_has_its_folder():
    there = {path.stem for path in (REPOSITORY / "mumu_jax").iterdir() if path.suffix == ".py" or path.is_dir()}
    assert there - {"__init__", "__pycache__"} == GROUND | COMMANDS | BELOW.keys()
    assert "grain" in imports()["mumu_jax.data.loader"]


def test_no_import_goes_in_a_circle():
    own = {module: {n for n in names if n in imports() and n != "mumu_jax"} for module, names in imports().items()}
    TopologicalSorter(own).prepare()  # raises CycleError, which names the circle


def test_folders_import_one_way():
    assert wrong_imports("mumu_jax", BELOW, GROUND) == {}


def test_folders_of_data_import_one_way():
    assert wrong_imports("mumu_jax.data", BELOW_IN_DATA, {"manifest", "loader"}) == {}


def test_ground_imports_only_ground():
    wrong = {m: folders(names) - GROUND for m, names in imports().items() if folders({m}) & GROUND}
    assert {module: names for module, names in wrong.items() if names} == {}


def test_training_sees_only_the_loader_of_data():
    wrong = {
        m: folders(names, "mumu_jax.data") - {"loader"}
        for m, names in imports().items()
        if m.startswith("mumu_jax.training.")
    }
    assert {module: names for module, names in wrong.items() if names} == {}


def test_compute_side_needs_little():
    wrong = {}
    for module, names in imports().items():
        if folders({module}) & BARE_FOLDERS:
            wrong[module] = {name for name in names if not name.startswith("mumu_jax")} - COMPUTE_PACKAGES
    assert {module: names for module, names in wrong.items() if names} == {}


# A bare machine: every installed package is hidden that the five, and what they require, do not bring.
BARE = f"""
import importlib.metadata, re, sys

def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()

brought, todo = set(), {sorted(COMPUTE_PACKAGES)}
while todo:
    name = normal(todo.pop())
    if name not in brought:
        brought.add(name)
        try:
            required = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        todo += [re.match(r"[\\w.-]+", one)[0] for one in required if "extra ==" not in one]
tops = importlib.metadata.packages_distributions().items()
hidden = {{top for top, names in tops if not brought & set(map(normal, names))}} - {{"mumu_jax"}}
assert hidden >= set("grain tensorflow_datasets array_record librosa soundfile soxr numba PIL sklearn".split())
assert hidden >= set("ml_collections tensorboardX".split())

class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            raise ModuleNotFoundError(f"{{name}} is not on a bare machine", name=name)

sys.meta_path.insert(0, Hide())

import jax, numpy as np
from mumu_jax import batch, config
from mumu_jax.compute import devices, network, optim, predict, state, step
from mumu_jax.objectives import metrics

settings = config.Config(name="bare", model=config.ModelSettings(kernel="4x96", width="low"))
fitted = {{"label_factors": np.eye(4, dtype=np.float32)}}
of_audio = network.Standardisation(np.zeros((322, 96), np.float32), np.ones((322, 96), np.float32))
constants = network.Constants({{"audio": of_audio}}, fitted)
network_ = network.item_network(settings, 4, fitted)
tx = optim.make_optimizer(settings.optim)
rng, mesh = np.random.default_rng(0), devices.make_mesh()
labels = np.eye(4, dtype=np.uint8)
inputs = {{"audio": rng.normal(size=(4, 322, 96)).astype(np.float16)}}
given = batch.Batch(inputs, labels, np.ones(4, np.float32))
before = state.create_state(network_, tx, {{"audio": jax.ShapeDtypeStruct((322, 96), np.float16)}}, seed=0)
train_step = jax.jit(step.train_step, static_argnames=("network", "tx"))
after, loss = train_step(before, given, constants, network=network_, tx=tx)
assert int(after.step) == 1 and np.isfinite(loss)
chunk = devices.put_chunk(jax.tree.map(lambda leaf: leaf[None], given), mesh)
found = predict.predict(after.variables, [chunk], constants, network_, mesh)
summary = metrics.summarize(found.scores, found.labels, np.ones(4, bool))
assert summary["n_items"] == 4 and 0 <= summary["roc_auc_macro"] <= 1
print("done")
"""


def test_compute_side_runs_on_a_bare_machine():
    done = run_python("-c", BARE)
    assert done.stdout == "done\n", done.stderr
