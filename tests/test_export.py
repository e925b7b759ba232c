"""Exports: programs and weights that give a run's scores without the run, on any machine, or say why they cannot."""

import ast
import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import pytest
from conftest import complain, run_python, succeed
from flax import linen as nn
from jax.export import deserialize
from safetensors.numpy import load_file

from mumu_jax import config as configs
from mumu_jax import export, tag
from mumu_jax.compute.network import Constants, Network, Standardisation, item_network
from mumu_jax.compute.state import abstract_variables, create_state
from mumu_jax.data.manifest import Label, read_manifest
from mumu_jax.data.modalities.base import Read
from mumu_jax.data.modalities.inputs import Inputs
from mumu_jax.errors import UserError
from mumu_jax.experiments import load_config
from mumu_jax.models.kernels.backend import traced_for
from mumu_jax.objectives.label_graph import fit_label_graph
from mumu_jax.runs import exported, exported_program
from mumu_jax.runs.exported import ABOUT, files_in, open_export, write_export
from mumu_jax.runs.exported_program import GROUP, program_of, weights_of
from mumu_jax.runs.folder import Trained, TrainedRun, load_run
from mumu_jax.runs.scorer import Scorer, open_run, scorer_of
from mumu_jax.runs.stems import Together
from mumu_jax.system.files import sha256_of
from mumu_jax.system.seals import SEAL

pytestmark = pytest.mark.full

NAMES = ("audio", "text", "image", "fusion")
N_LABELS = 24


@pytest.fixture(scope="module")
def runs(tmp_path_factory, small_runs) -> dict[str, Path]:
    """Finished runs of songs, texts, covers, and of all three together, in one folder."""
    folder = tmp_path_factory.mktemp("runs")
    found = {name: Path(shutil.copytree(path, folder / name)) for name, path in small_runs.items()}
    features = ",".join(f"{name}={path}" for name, path in found.items())
    settings = ("--config=fusion_ati_logistic", "--config.optim.max_epochs=1", "--config.fusion.missing=mask")
    succeed("mumu_jax.train", *settings, "--runs", features, f"--workdir={folder / 'fusion'}")
    return {**found, "fusion": folder / "fusion"}


@pytest.fixture(scope="module")
def opened(runs) -> dict[str, Scorer]:
    return {name: open_run(path) for name, path in runs.items()}


@pytest.fixture(scope="module")
def exports(runs, tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("exports")
    for name, path in runs.items():
        export.main([f"--workdir={path}", f"--out={folder / name}"])
    return {name: folder / name for name in runs}


@pytest.fixture
def text(exports, tmp_path) -> Path:
    """An export to damage."""
    return Path(shutil.copytree(exports["text"], tmp_path / "text"))


def made_up(name: str, n: int) -> list[Read]:
    """Files as they might have been read: with several records each where they are songs."""
    rng = np.random.default_rng(n)
    words = ["the", "guitar", "and", "drums", "rock", "loud", "piano", "quiet", "night", "blues", "dance", "beat"]
    make = {
        "audio": lambda: {"patch": rng.uniform(-80, 0, (322, 96)).astype(np.float16)},
        "text": lambda: {"text": " ".join(rng.choice(words, rng.integers(1, 200))), "categories": ()},
        "image": lambda: {"image": rng.integers(0, 256, (256, 256, 3), np.uint8)},
    }[name]
    counts = rng.integers(1, 4, n) if name == "audio" else np.ones(n, int)
    return [Read(Path(f"{i}"), [make() for _ in range(count)]) for i, count in enumerate(counts)]


def scores_of(one: Scorer, name: str, n: int, batch_size: int) -> np.ndarray:
    """Of the same `n` made-up files each time; the last of a fusion's has no text."""
    if name != "fusion":
        return np.stack([seen.scores for seen in one.see(made_up(name, n), batch_size)])
    of_modalities = zip(*(made_up(modality, n) for modality in one.sources), strict=True)
    parts = [dict(zip(one.sources, reads, strict=True)) for reads in of_modalities]
    del parts[-1]["text"]
    seen = one.see([Together(Path("x"), [{}], parts=part) for part in parts], batch_size)
    return np.stack([of_album.scores for of_album in seen])


# --- scores -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_those_of_the_run(opened, exports, name):
    """For any batch size, also one that does not divide the items."""
    ours, theirs = open_export(exports[name]), opened[name]
    assert (ours.names, ours.labels) == (theirs.names[:1], theirs.labels)
    expected = scores_of(theirs, name, 5, 8)
    assert expected.shape == (5, N_LABELS)
    assert np.ptp(expected) > 0.01
    for batch_size in (1, 3, 32):
        np.testing.assert_allclose(scores_of(ours, name, 5, batch_size), expected, atol=1e-5)


def test_nothing_of_the_run_is_needed_nor_any_network_built(opened, runs, exports, monkeypatch):
    expected = scores_of(opened["fusion"], "fusion", 2, 2)

    def refuse(*arguments, **how):
        raise AssertionError("a network of Flax")

    monkeypatch.setattr(nn.Module, "apply", refuse)
    monkeypatch.setattr(nn.Module, "init", refuse)
    folder = runs["fusion"].parent
    away = folder.rename(folder.with_name("away"))
    try:
        ours = open_export(exports["fusion"])
        assert list(ours.sources) == ["audio", "text", "image"]
        assert {name: source.names for name, source in ours.sources.items()} == {
            name: opened[name].names[:1] for name in ours.sources
        }
        np.testing.assert_allclose(scores_of(ours, "fusion", 2, 2), expected, atol=1e-5)
    finally:
        away.rename(folder)
    assert str(folder).encode() not in b"".join(path.read_bytes() for path in exports["fusion"].rglob("*.json"))


@pytest.mark.parametrize("name", NAMES)
def test_programs_are_for_cpu_cuda_and_tpu_and_any_batch(exports, name):
    for path in exports[name].glob("*.stablehlo"):
        program = deserialize(path.read_bytes())
        assert program.platforms == ("cpu", "cuda", "tpu")
        assert b"/mumu_jax/" not in path.read_bytes()  # the names of source files
        weights = load_file(path.with_suffix(".safetensors"))
        of_inputs = program.in_avals[len(weights) :]
        rng, found = np.random.default_rng(0), []
        whole = [
            rng.integers(0, 9, (32, *(leaf if isinstance(leaf, int) else 5 for leaf in aval.shape[1:]))).astype(
                aval.dtype
            )
            for aval in of_inputs
        ]
        for n in (1, GROUP - 1, GROUP, GROUP + 3, 32):
            found.append(program.call(weights, *(array[:n] for array in whole)))
            assert found[-1][0].shape == (n, N_LABELS)
        for part in found[:-1]:
            for a, b in zip(part, found[-1], strict=True):
                np.testing.assert_allclose(a, b[: len(a)], rtol=1e-5, atol=1e-5)


def test_accelerators_convolve_images_plainly(exports):
    """Whatever machine exports: a CPU's products in place of 1 × 1 convolutions crash XLA's compiler for GPUs."""
    program = deserialize((exports["image"] / "album.stablehlo").read_bytes())
    weights = load_file(exports["image"] / "album.safetensors")
    kernels = set(re.findall(r"stablehlo\.convolution\(%\w+, (%arg\d+)\)", program.mlir_module()))
    assert len(kernels) == sum(leaf.ndim == 4 for leaf in weights.values())


FAMILIES = [
    *(("audio", {"kernel": kernel, "width": "low"}, "logistic") for kernel in ("4x70", "3x3")),
    ("audio", {"kernel": "4x70", "width": "low", "precision": "bfloat16"}, "logistic"),
    *(("timbre", {"family": "shallow"}, kind) for kind in ("cosine", "logistic", "softmax")),
    *(
        pytest.param("image", {"family": family}, "softmax", marks=pytest.mark.slow)
        for family in ("densenet201", "vit_b16", "alexnet")
    ),
]


@pytest.mark.parametrize(("modality", "model", "kind"), FAMILIES)
def test_program_of_each_family_and_target(modality, model, kind):
    """Of random weights."""
    settings, target = configs.ModelSettings(**model), configs.TargetSettings(kind=kind)
    inputs = Inputs.unfitted(configs.Config(modality=modality, model=settings, target=target))
    rng = np.random.default_rng(0)
    fitted = {"label_factors": rng.normal(size=(7, 5)).astype(np.float32)} if kind == "cosine" else {}
    network, item = item_network(inputs.config, 7 if kind == "cosine" else 5, fitted), inputs.item
    variables = jax.device_get(create_state(network, optax.identity(), item, seed=0).variables)
    shape = {"audio": (322, 96), "timbre": (48,), "image": (3,)}[modality]
    statistics = Standardisation(np.full(shape, 3, np.float32), np.full(shape, 9, np.float32))
    constants = Constants({modality: statistics}, fitted)
    trained = Trained(network, variables, constants)
    labels = [Label(str(i)) for i in range(7 if kind == "cosine" else 5)]
    run = TrainedRun(
        ("run", ""), inputs.config, labels, np.ones(len(labels), bool), Path("data"), "", inputs, None, trained
    )
    given = rng.integers(0, 255, (3, *item[modality].shape)).astype(item[modality].dtype)
    expected = scorer_of(run, {}).first({modality: given}, 8)
    found = program_of(network, trained, item).call(weights_of(trained), given)
    for ours, theirs in zip(found, expected, strict=True):
        assert np.ptp(theirs) > 0
        tolerance = 2e-2 if model.get("precision") == "bfloat16" else 1e-5
        np.testing.assert_allclose(ours, theirs, atol=tolerance * max(1, np.abs(theirs).max()))
    if kind == "softmax":
        np.testing.assert_allclose(np.sum(found[0], axis=1), 1, rtol=1e-5)


def of_zeros(name: str) -> tuple[Network, Trained, Any]:
    """The network of an experiment, with zeros for weights, and its item."""
    config = exported.portable(load_config(f"{name}_logistic"))
    fitted = fit_label_graph(np.eye(4, dtype=np.uint8), np.eye(4)) if config.target.head == "graph" else {}
    network, item = item_network(config, 4, fitted), Inputs.unfitted(config).item
    variables = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), abstract_variables(network, item))
    statistics = Standardisation(np.zeros((), np.float32), np.ones((), np.float32))
    return network, Trained(network, variables, Constants(dict.fromkeys(item, statistics), fitted)), item


@pytest.mark.parametrize(
    "name", ["audio_low_4x70", "audio_low_3x3", "text_vsm", "mel_crnn", "lyrics_small", "joint_small"]
)
def test_a_part_for_accelerators_and_one_for_a_cpu_whichever_exports(name):
    """A program lowered for one platform has the operations of that platform's part of the whole program."""
    network, trained, item = of_zeros(name)
    products = {}
    everywhere = exported_program.PLATFORMS
    cases = [("cpu", everywhere), ("tpu", everywhere), *(("cpu", (platform,)) for platform in everywhere)]
    for exporter, platforms in cases:
        with pytest.MonkeyPatch.context() as patch, traced_for(exporter):
            patch.setattr(exported_program, "PLATFORMS", platforms)
            program = program_of(network, trained, item)
        assert program.platforms == platforms
        lines = re.findall(r"stablehlo\.(?:convolution|dot_general).*", program.mlir_module())
        products[exporter, platforms] = {re.sub(r"%\w+|loc\(.*", "", line) for line in lines}
        assert "HIGHEST" in str(products[exporter, platforms])
    of_cpu, of_gpu, of_tpu = (products["cpu", (platform,)] for platform in everywhere)
    assert of_gpu == of_tpu != of_cpu
    assert products["cpu", everywhere] == products["tpu", everywhere] == of_cpu | of_tpu


def test_a_cpu_compiles_its_own_part_alone():
    program, n_items = program_of(*of_zeros("audio_low_3x3")), 2 * GROUP
    arrays = [
        jax.ShapeDtypeStruct([size if isinstance(size, int) else n_items for size in aval.shape], aval.dtype)
        for aval in program.in_avals
    ]
    arguments, _ = jax.tree.unflatten(program.in_tree, arrays)
    assert "stablehlo.case" in program.mlir_module()
    assert "stablehlo.convolution" in program.mlir_module()
    text = jax.jit(program.call).lower(*arguments).compile().as_text()
    assert "conditional(" not in text
    assert "convolution(" not in text  # as accelerators have them


def test_programs_are_compiled_as_those_of_runs(text, monkeypatch):
    monkeypatch.setattr(exported, "compiler_options", lambda device: {"xla_unheard_of": device.platform})
    with pytest.raises(jax.errors.JaxRuntimeError, match="No such compile option: 'xla_unheard_of'"):
        scores_of(open_export(text), "text", 2, 2)


def test_precision_is_float32_unless_it_was_chosen():
    for given, expected in (("auto", "float32"), ("float32", "float32"), ("bfloat16", "bfloat16")):
        config = configs.Config(model=configs.ModelSettings(precision=given))
        assert exported.portable(config).model.precision == expected
        assert config.model.precision == given


# --- the folder ---------------------------------------------------------------------------------------------


def test_what_an_export_holds(exports, runs, tmp_path):
    networks = {"audio": ["album", "track"], "text": ["album"], "image": ["album"], "fusion": ["album"]}
    for name, levels in networks.items():
        files = {path.name for path in exports[name].iterdir()}
        more = {"text": {"vocabulary.json"}, "fusion": {"fusion.json", "sources"}}.get(name, set())
        parts = {f"{level}.{ending}" for level in levels for ending in ("stablehlo", "safetensors")}
        assert files == {"README.md", ABOUT, "config.json", "labels.json", "calibration.npz"} | parts | more
    again = tmp_path / "again"
    export.main([f"--workdir={runs['text']}", f"--out={again}"])
    for path in files_in(again):
        assert (again / path).read_bytes() == (exports["text"] / path).read_bytes(), path


def test_gazetteer_goes_along(runs, shared_tmp, tmp_path):
    run = load_run(runs["text"])
    config, gazetteer = run.config, shared_tmp / "small_source" / "gazetteer"
    config = dataclasses.replace(config, tfidf=dataclasses.replace(config.tfidf, categories=True))
    inputs = dataclasses.replace(run.inputs, config=config).with_fitted("text", gazetteer=gazetteer)
    write_export(dataclasses.replace(run, config=config, inputs=inputs), runs["text"], tmp_path / "out")
    found = open_export(tmp_path / "out").inputs.fitted["text"].gazetteer
    assert found == tmp_path / "out" / "gazetteer"
    assert found.read_bytes() == gazetteer.read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_snippet_of_the_card_runs(exports, name):
    """With JAX, NumPy and safetensors, in the folder."""
    card = (exports[name] / "README.md").read_text()
    [code] = re.findall(r"^```python\n(.*?)^```$", card, re.DOTALL | re.MULTILINE)
    assert "mumu_jax" not in code
    done = run_python("-W", "error", "-c", code, cwd=exports[name])
    assert done.returncode == 0, done.stderr
    best = ast.literal_eval(done.stdout)
    labels = [label.name for label in open_export(exports[name]).labels]
    assert [genre for _, genre in best] == list(dict.fromkeys(genre for _, genre in best if genre in labels))
    assert best == sorted(best, reverse=True)
    if name == "audio":
        silence = [Read(Path("x"), [{"patch": np.full((322, 96), -80, np.float16)}] * 3)]
        expected = dict(zip(labels, open_export(exports[name]).see(silence, 3)[0].scores, strict=True))
        assert {genre: score for score, genre in best} == pytest.approx(
            {genre: expected[genre] for _, genre in best}, abs=1e-5
        )


def test_card_says_what_it_is(exports, runs):
    card = (exports["audio"] / "README.md").read_text()
    about = json.loads((runs["audio"] / "config.json").read_text())
    measured = json.loads((runs["audio"] / "eval_test.json").read_text())
    for fragment in (
        "audio_low_4x96",
        about["data"]["checksum"],
        f"{N_LABELS} genres",
        f"| roc_auc_macro | {measured['album']['roc_auc_macro']:.3f} | {measured['track']['roc_auc_macro']:.3f} |",
        "float16 [n, 322, 96]",
        "22,050 Hz",
        "compute in float32",
        "ISMIR 2017",
        "MIT",
    ):
        assert fragment in card
    assert "{" not in re.sub(r"```.*?```", "", card, flags=re.DOTALL)
    assert (
        "audio (256), text (2048), image (512), in this order side by side"
        in (exports["fusion"] / "README.md").read_text()
    )


# --- commands -----------------------------------------------------------------------------------------------


def test_tag_goes_on_with_the_export_of_its_run(runs, small_data, tmp_path):
    """The same rows in the same file, whichever of the two scores."""
    run, songs = Path(shutil.copytree(runs["text"], tmp_path / "run")), tmp_path / "texts"
    songs.mkdir()
    for name, album in zip("abc", read_manifest(small_data / "manifest.jsonl"), strict=False):
        (songs / f"{name}.txt").write_text(album.text)
    out, model = tmp_path / "tags.jsonl", tmp_path / "model"
    tag.main([f"--workdir={run}", str(songs), f"--out={tmp_path / 'whole.jsonl'}", "--top_k=24"])
    tag.main([f"--workdir={run}", str(songs / "a.txt"), f"--out={out}", "--top_k=24"])
    assert f"written: {model}" in succeed("mumu_jax.export", f"--workdir={run}", f"--out={model}").stdout
    run.rename(tmp_path / "gone")
    done = succeed("mumu_jax.tag", f"--model={model}", songs, f"--out={out}", "--top_k=24")
    assert "1 of 3 files are in" in done.stdout
    found, expected = (
        [json.loads(line) for line in path.read_text().splitlines()] for path in (out, tmp_path / "whole.jsonl")
    )
    assert len(found) == 3
    for ours, theirs in zip(found, expected, strict=True):
        scores, others = ({g["genre"]: g["score"] for g in row.pop("genres")} for row in (ours, theirs))
        assert scores == pytest.approx(others, abs=1e-5)
        assert ours == theirs
    (model / "album.safetensors").unlink()
    complain("mumu_jax.tag", f"--model={model}", songs, says=[f"{model / 'album.safetensors'} is missing", "export"])


@pytest.mark.parametrize("arguments", [[], ["--workdir=run", "--model=model"]])
def test_tag_needs_a_run_or_an_export(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        tag.main([*arguments, "song.mp3"])
    assert stop.value.code == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "--workdir" in said
    assert "--model" in said


# --- what is refused ----------------------------------------------------------------------------------------


def refuse_to_open(folder: Path, *says: str) -> None:
    with pytest.raises(UserError) as caught:
        open_export(folder)
    assert [fragment for fragment in says if fragment not in str(caught.value)] == [], caught.value
    assert "\n" not in str(caught.value)


def replace_file(folder: Path, name: str, content: bytes) -> None:
    """As if it had been exported so."""
    (folder / name).write_bytes(content)
    about = json.loads((folder / ABOUT).read_text())
    about["files"][name] = sha256_of(folder / name)
    del about["sha256"]  # as in exports from before it was there
    (folder / ABOUT).write_text(json.dumps(about))


def test_damaged_exports_are_refused(text, exports, runs, tmp_path):
    for name in files_in(text):
        whole = (text / name).read_bytes()
        (text / name).write_bytes(whole[:-2] + bytes([whole[-2] ^ 1]) + whole[-1:])
        refuse_to_open(text, f"{text / name} is not the file that was exported", "copy the folder again, or export")
        (text / name).write_bytes(whole)
    (text / "labels.json").unlink()
    refuse_to_open(text, f"{text / 'labels.json'} is missing")
    fusion = Path(shutil.copytree(exports["fusion"], tmp_path / "fusion"))
    shutil.rmtree(fusion / "sources" / "audio")
    refuse_to_open(fusion, "sources/audio", "is missing")
    for content in ("", "[1]", '{"format": "2"}', '{"format": "mumu_jax export 1", "run": "a", "files": 3}'):
        (text / ABOUT).write_text(content)
        refuse_to_open(text, f"{text} is not an export", "python -m mumu_jax.export")
    refuse_to_open(runs["text"], f"{runs['text']} is not an export", "--workdir")


def test_programs_that_this_jax_cannot_read_are_refused(text):
    replace_file(text, "album.stablehlo", b"of the future")
    refuse_to_open(
        text, "album.stablehlo was made by JAX", f"and JAX {jax.__version__} cannot read it", "export the run"
    )


def test_programs_for_another_device_are_refused(text, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "metal")
    says = "album.stablehlo is for cpu, cuda, tpu, and JAX computes on metal here; export the run again"
    refuse_to_open(text, says, "JAX_PLATFORMS=cpu")


def refuse_to_write(run: Path, out: Path, says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        export.main([f"--workdir={run}", f"--out={out}"])
    assert "\n" not in str(caught.value)
    assert [path.name for path in out.parent.iterdir() if path.name.startswith(f".{out.name}")] == []


def test_what_is_not_ours_is_never_overwritten(runs, exports, text, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "milk").touch()
    for out in (tmp_path / "notes", tmp_path / "notes" / "milk", runs["image"]):
        before = sorted(out.rglob("*"))
        refuse_to_write(runs["text"], out, "is there and is not an export; give another --out")
        assert sorted(out.rglob("*")) == before
    refuse_to_write(runs["image"], text, r"holds the export of another run \(text_vsm-")
    (text / "mine.txt").touch()
    refuse_to_write(runs["text"], text, r"mine.txt is not a part of the export and would be lost; move it")
    (text / "mine.txt").unlink()
    (text / "README.md").write_text("damaged")
    (tmp_path / ".text.part").mkdir()  # of a call that was killed
    export.main([f"--workdir={runs['text']}", f"--out={text}"])
    open_export(text)
    (tmp_path / "empty").mkdir()
    export.main([f"--workdir={runs['text']}", f"--out={tmp_path / 'empty'}"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "notes", "text"]


def test_runs_that_cannot_be_exported(runs, text, tmp_path, monkeypatch):
    run = Path(shutil.copytree(runs["text"], tmp_path / "run"))
    (run / "eval_test.json").unlink()
    before = (text / ABOUT).read_bytes()
    refuse_to_write(run, text, r"has no metrics for the model card .* mumu_jax.evaluate --workdir=.*run writes them")
    assert (text / ABOUT).read_bytes() == before  # a failure leaves the former export
    for path in (run / "album").glob("*/progress/metadata"):
        path.write_text(path.read_text().replace('"finished": true', '"finished": false'))
    (run / "album" / SEAL).unlink()
    refuse_to_write(run, tmp_path / "out", "not trained to its end")
    refuse_to_write(tmp_path / "no", tmp_path / "out", "is not a run")
    fusion = Path(shutil.copytree(runs["fusion"], tmp_path / "fusion"))
    kept = (fusion / "fusion.json").read_text()
    (fusion / "fusion.json").write_text(kept.replace(str(runs["text"]), str(tmp_path / "moved")))
    (fusion / SEAL).unlink()
    refuse_to_write(fusion, tmp_path / "out", "sees text by the run .* move that run back, or train the fusion again")
    assert not (tmp_path / "out").exists()
