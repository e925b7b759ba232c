"""Programs compiled for devices that are not here: how they are read, what is estimated from them, and what they hold.

Compiling needs the wheels that `scripts/compilers` installs.
"""

import json

import jax
import pytest
from conftest import run_python

from benchmarks import compiled, compilers, modules, results, roofline, table
from benchmarks.data_sheets import DATA_SHEETS
from benchmarks.made_up_batches import item_of
from benchmarks.options import SIX
from benchmarks.train_step import make_problem
from mumu_jax.compute.state import abstract_variables, n_values
from mumu_jax.errors import UserError

H200, V5E = DATA_SHEETS["h200"], DATA_SHEETS["v5e"]

# A loop of two kernels, one of which became a convolution with a giant window, and a copy behind it.
ON_A_GPU = """
%body (p: (f32[2,3], bf16[4])) -> (f32[2,3], bf16[4]) {
  %p = (f32[2,3]{1,0}, bf16[4]{0}) parameter(0)
  %a = f32[2,3]{1,0} get-tuple-element(%p), index=0
  %w = (f32[2,3]{1,0}, u8[999]{0}) custom-call(%a, %a), window={size=319x27}, custom_call_target="__cudnn$convForward"
  %k = (f32[2,3]{1,0}, u8[999]{0}) custom-call(%a, %a), window={size=4x6}, custom_call_target="__cudnn$convForward"
}

ENTRY %main.1 (x: f32[2,3]) -> f32[2,3] {
  %x = f32[2,3]{1,0} parameter(0)
  %loop = (f32[2,3]{1,0}, bf16[4]{0}) while(%x), condition=%cond, body=%body
  ROOT %copy = f32[2,3]{1,0} copy(%x)
}
"""

# A loop that takes its part of a chunk of 31 steps, copies it on the chip and in memory, and sums over the devices.
ON_A_TPU = """
%body (p: (f16[31,4,8], f32[8])) -> (f16[31,4,8], f32[8]) {
  %p = (f16[31,4,8]{2,1,0:T(8,128)(2,1)}, f32[8]{0:T(128)S(1)}) parameter(0)
  %c = f16[31,4,8]{2,1,0:T(8,128)(2,1)} get-tuple-element(%p), index=0
  %b = f16[4,8]{1,0:T(8,128)(2,1)S(1)} fusion(%c), kind=kLoop, backend_config={"estimated_cycles":"70"}
  %t = f16[4,8]{0,1:T(8,128)(2,1)S(1)} copy(%b), backend_config={"estimated_cycles":"7"}
  %m = f16[4,8]{0,1:T(8,128)(2,1)} copy(%t)
  %g = f32[8]{0:T(128)S(1)} fusion(%t), kind=kLoop
  %r = (f32[8]{0:T(128)S(1)}, f32[]{:T(128)}) all-reduce(%g, %l), channel_id=1
  %s = (f32[8]{0:T(128)}, u32[]{:S(2)}) copy-start(%g)
  %d = f32[8]{0:T(128)} copy-done(%s)
}

ENTRY %main.1 (x: f16[31,4,8]) -> f32[8] {
  %x = f16[31,4,8]{2,1,0:T(8,128)(2,1)} parameter(0)
  ROOT %loop = (f16[31,4,8]{2,1,0:T(8,128)(2,1)}, f32[8]{0:T(128)S(1)}) while(%x), condition=%cond, body=%body
}
"""

# A step that works on its items in eight turns: each takes its part of the chunk's array, and of the items'.
IN_TURNS = """
%part (p: (s32[], f32[8,5], f32[31,5], f32[9])) -> (s32[], f32[8,5], f32[31,5], f32[9]) {
  %p = (s32[], f32[8,5]{1,0}, f32[31,5]{1,0}, f32[9]{0}) parameter(0)
  %i = f32[8,5]{1,0} get-tuple-element(%p), index=1
  %c = f32[31,5]{1,0} get-tuple-element(%p), index=2
  %w = f32[9]{0} fusion(%i, %c), kind=kLoop, backend_config={"estimated_cycles":"3"}
}

%few (p: (s32[], f32[8,5], f32[31,5], f32[9])) -> pred[] {
  %p = (s32[], f32[8,5]{1,0}, f32[31,5]{1,0}, f32[9]{0}) parameter(0)
  %n = s32[] constant(8)
  %k = s32[] get-tuple-element(%p), index=0
  ROOT %less = pred[] compare(%k, %n), direction=LT
}

%body (p: f32[8,5]) -> f32[8,5] {
  %p = f32[8,5]{1,0} parameter(0)
  %f = f32[8,5]{1,0} fusion(%p), kind=kLoop, backend_config={"estimated_cycles":"7"}
  %loop = (s32[], f32[8,5]{1,0}, f32[31,5]{1,0}, f32[9]{0}) while(%f), condition=%few, body=%part
}

ENTRY %main.1 (x: f32[8,5]) -> f32[8,5] {
  %x = f32[8,5]{1,0} parameter(0)
  ROOT %loop = f32[8,5]{1,0} while(%x), condition=%many, body=%body
}
"""


def test_a_loop_within_a_step_counts_in_each_turn():
    step = modules.Module(IN_TURNS).step()
    assert [n_bytes for _, n_bytes in step] == [2 * 8 * 5 * 4, *8 * [4 * (5 + 5 + 9)]]
    assert modules.cycles(step) == 7 + 8 * 3


def test_reading_a_gpus_module():
    module = modules.Module(ON_A_GPU)
    kernels = list(module.kernels("ENTRY"))
    assert module.step() == kernels[:2]
    assert [(one.opcode, n_bytes) for one, n_bytes in kernels] == [
        ("custom-call", 48),
        ("custom-call", 48),
        ("copy", 48),
    ]
    assert ["319x27" in line for line in module.giant_windows(7)] == [True]
    assert len(modules.copies(kernels, 6)) == 1
    assert modules.copies(kernels[:2], 6) == []


def test_reading_a_tpus_module():
    """What stays on the chip moves no bytes, and of a whole chunk a step moves its own part."""
    step = modules.Module(ON_A_TPU).step()
    assert [(one.opcode, n_bytes) for one, n_bytes in step] == [
        *(("fusion", 64), ("copy", 0), ("copy", 64), ("fusion", 0)),
        *(("all-reduce", 4), ("copy-start", 32)),
    ]
    assert modules.messages(step) == [36]
    assert modules.cycles(step) == 77
    assert [line.split()[0] for line in modules.copies(step, 32)] == ["%m"]


@pytest.mark.parametrize(
    "result",
    [
        "(f32[8]{0}, f32[])",
        "((f32[8]{0}, f32[]), f32[8]{0}, f32[])",
        "((f32[8]{0}, f32[]), (f32[8]{0}, f32[]))",
    ],
    ids=["results", "operands and results", "two tuples"],
)
def test_the_operands_of_a_message_that_begins_are_not_its_results(result):
    """JAX 0.10 writes the first form, JAX 0.12 the second."""
    begins = f"  %m = {result} all-reduce-start(%g, %l), channel_id=1"
    module = modules.Module("%body (p: f32[8]) -> f32[8] {\n" + begins + "\n}")
    ((one, n_bytes),) = module.kernels("body")
    assert modules.messages([(one, n_bytes)]) == [36]
    assert n_bytes == 36


def test_a_step_takes_as_long_as_its_products_or_its_bytes():
    assert roofline.step_s(H200, "bfloat16", 989e12, 1.0) == 1.0
    assert roofline.step_s(H200, "float32", 67e12, 1.0) == 1.0
    assert roofline.step_s(V5E, "bfloat16", 1.0, 2 * 819e9) == 2.0


def test_an_all_reduce_sends_its_bytes_almost_twice():
    assert roofline.all_reduce_s(H200, 450e9, 1) == 0.0
    assert roofline.all_reduce_s(H200, 450e9, 4) == 1.5
    assert roofline.all_reduce_s(H200, 450e9, 64) == pytest.approx(2 * 63 / 64 * 9)  # over the network
    assert roofline.all_reduce_s(V5E, 200e9, 64) == pytest.approx(2 * 63 / 64)


def _compiled(n_devices: int, batch_size: int, step_bytes: float, **more) -> dict:
    row = {
        "config": "audio_high_4x70",
        "precision": "bfloat16",
        "device": H200.kind,
        "mode": "jit",
        "commit": "abc1234",
        "versions": {"jax": "0.12.0.1"},
    }
    figures = {"step_flops": 1.0, "step_bytes": step_bytes, "n_examples": 25_600, "all_reduce_bytes": 0.0}
    return results.make_row("compiled", {**row, **figures, "n_devices": n_devices, "batch_size": batch_size, **more})


def test_scaling_on_paper():
    """10 s a step and 10 s for each 64 items: 50 s at 256, 15 s at 32.  The all-reduce takes 1.5 s on four devices."""
    rows = [_compiled(1, 32, 15 * 4.8e12), _compiled(1, 256, 50 * 4.8e12)]
    assert roofline.scaling(rows) == []
    (scaled,) = roofline.scaling([*rows, _compiled(4, 1024, 50 * 4.8e12, all_reduce_bytes=450e9)])
    assert scaled["alone_s"] == 50 * 100
    assert scaled["weak_4_s"] == 51.5 * 25
    assert scaled["strong_4_s"] == 21.5 * 100
    assert scaled["strong_8_s"] == pytest.approx((15 + 1.75) * 100)
    rendered = table.render([*rows, _compiled(4, 1024, 1.0, all_reduce_bytes=450e9)])
    assert "| NVIDIA H200 | 0.12 | audio_high_4x70 | bfloat16 | 256 | 5,000 | 1,288 |" in rendered


def test_data_sheets_are_of_devices_that_the_compilers_know():
    assert len({sheet.kind for sheet in DATA_SHEETS.values()}) == len(DATA_SHEETS)
    tpus = [sheet for sheet in DATA_SHEETS.values() if sheet.platform == "tpu"]
    assert {sheet.target for sheet in tpus} == {*compilers.TOPOLOGIES}
    for sheet in DATA_SHEETS.values():
        assert sheet.float32_flops_per_s < sheet.flops_per_s
        assert max(compilers.N_DEVICES) <= sheet.linked or sheet.network_bytes_per_s > 0


def test_a_loop_within_a_step_is_refused():
    with pytest.raises(UserError, match="a step of mel_crnn loops over frames"):
        compiled._flops(make_problem("mel_crnn", "bfloat16"), 1, V5E)


# --- compiled ---------------------------------------------------------------------------------------------------

COMPILE = """
import json, sys
from benchmarks import compiled, compilers
from benchmarks.data_sheets import DATA_SHEETS
compilers.prepare()
device, config, n_items = sys.argv[1], sys.argv[2], int(sys.argv[3])
for kind in sys.argv[4:]:
    print(json.dumps(compiled.measure(DATA_SHEETS[device], config, "bfloat16", 4 * n_items, kind, 4)))
"""

SLOW_FOR_TPUS = ["audio_high_4x96", "audio_high_3x3"]  # a minute or more
installed = pytest.mark.skipif(
    not (compilers.FOLDER / "installed").exists(),
    reason="the compilers are not installed; scripts/compilers installs them",
)


def compile_for(device: str, config: str, *kinds: str, n_items: int = 256) -> list[dict]:
    """Return the rows of programs for four devices; JAX must be started with the compilers, so in another process."""
    done = run_python("-c", COMPILE, device, config, str(n_items), *kinds, TF_CPP_MIN_LOG_LEVEL="3", XLA_FLAGS="")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@installed
@pytest.mark.full
@pytest.mark.parametrize(
    ("config", "device"),
    [
        pytest.param(config, device, marks=pytest.mark.slow if device == "v5e" and config in SLOW_FOR_TPUS else ())
        for config in (*SIX, "text_vsm")
        for device in ("h200", "v5e")
    ]
    + [("audio_low_4x96", "v6e")],  # whose compiler must know the options that it is given
)
def test_a_step_on_four_devices_sends_one_message(config, device):
    (row,) = compile_for(device, config, "jit")
    assert row["n_all_reduces"] == 1
    assert row["n_copies"] == 0
    assert row["memory_share"] < 1
    assert not row["n_giant_windows"]


@installed
@pytest.mark.full
@pytest.mark.parametrize("device", ["h200", pytest.param("v5e", marks=pytest.mark.slow)])
@pytest.mark.parametrize("config", ["image_resnet101", "joint_small"])
def test_gradients_are_one_message_beside_those_of_batch_normalisation(config, device):
    """A layer's mean and variance are at most two messages forward and two backward, and small."""
    (row,) = compile_for(device, config, "jit", n_items=16)
    problem = make_problem(config, "bfloat16")
    variables = abstract_variables(problem.network, item_of(problem.chunk(1, 1)))
    n_layers = len(jax.tree.leaves(variables["batch_stats"])) // 2  # each has a mean and a variance
    assert row["n_all_reduces"] <= 1 + 4 * n_layers
    assert row["all_reduce_bytes"] == pytest.approx(4 * n_values(variables["params"]), rel=0.02)
    assert row["n_copies"] == 0
    assert row["memory_share"] < 1
    assert not row["n_giant_windows"]


@installed
@pytest.mark.full
@pytest.mark.parametrize("device", ["h200", pytest.param("v5e", marks=pytest.mark.slow)])
def test_pmap_is_the_same_program(device):
    jit, pmap = compile_for(device, "audio_low_4x96", "jit", "pmap")
    names = ("n_all_reduces", "all_reduce_bytes", "step_flops", "n_giant_windows")
    assert [pmap[name] for name in names] == [jit[name] for name in names]
    assert pmap["step_bytes"] <= jit["step_bytes"]
