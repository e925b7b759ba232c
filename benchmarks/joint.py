"""`python -m benchmarks.joint`: train on songs and lyrics alone, on both by late fusion, and on both jointly.

In the mini dataset genres without singers are told by the sound alone, and words tell others that are hard to hear.
Each seed is a run of every system on the same songs; what is gained is the difference to the better modality alone of
that seed.  recall@1 is how many songs find their own lyrics, and lyrics their song, among all of the test split, in the
mean.
"""

import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from benchmarks.benchmark import Benchmark
from benchmarks.columns import Row
from benchmarks.commands import call
from mumu_jax.system.processor import processor
from mumu_jax.system.terminal import positive, run_command

PATCH = "mel.patch_frames=320"  # 7.4 s of a song that repeats itself; 30 s would take four times as long
SMALL = (PATCH, "model.width_divisor=8")
SONG, LYRICS, FUSION, JOINT = "mel_five_blocks", "lyrics_small", "fusion_mel_lyrics", "joint_small"
SETTINGS = {
    SONG: (*SMALL, "optim.learning_rate=1e-3", "optim.max_epochs=60", "optim.patience=10"),  # as joint_small's own
    LYRICS: (),
    FUSION: ("optim.learning_rate=1e-2", "optim.max_epochs=400", "optim.patience=20"),
    JOINT: SMALL,
    f"{JOINT}, without contrast": (*SMALL, "model.joint.contrast=0"),
    f"{JOINT}, with attention": (*SMALL, "model.joint.attention=True", "model.joint.fuse=mean"),
}
ALONE = (SONG, LYRICS)


def main(argv: Sequence[str]) -> int:
    """Train every system with every seed, and add a row for each."""
    benchmark = Benchmark("joint", __doc__)
    benchmark.option("--seeds", type=positive, default=3, help="runs of each; default %(default)s")
    options = benchmark.start(argv, device=processor())
    with tempfile.TemporaryDirectory(prefix="mumu_jax_joint_") as temporary:
        data = f"--data_dir={temporary}/data"
        call("prepare", "--source=synthetic", data, "--modalities=lyrics,mel", "--mel.preset=ru", f"--{PATCH}")
        for seed in range(options.seeds):
            rows = {name: _train(name, seed, data, Path(temporary)) for name in SETTINGS}
            alone = max(rows[name]["jaccard"] for name in ALONE)
            for name in SETTINGS.keys() - ALONE:
                rows[name]["gain"] = rows[name]["jaccard"] - alone
            for name, row in rows.items():
                benchmark.add({"config": name, "mode": f"seed {seed}", "seed": seed, **row})
    return 0


def _train(name: str, seed: int, data: str, folder: Path) -> Row:
    """Train one system, and return its scores on the test split."""
    workdir, start = folder / f"{name}_{seed}", time.monotonic()
    settings = [f"--config.{setting}" for setting in (f"seed={seed}", *SETTINGS[name])]
    if name == FUSION:
        settings.append(f"--runs=mel={folder / f'{SONG}_{seed}'},lyrics={folder / f'{LYRICS}_{seed}'}")
    call("train", f"--config={name.partition(',')[0]}", *settings, data, f"--workdir={workdir}")
    result = json.loads((workdir / "eval_test.json").read_text())
    row = {
        "jaccard": result["decisions"]["at_half"]["jaccard"],
        "f1_samples": result["decisions"]["at_half"]["f1_samples"],
        "roc_auc": result["album"]["roc_auc_macro"],
        "n_items": result["album"]["n_items"],
        "seconds": time.monotonic() - start,
    }
    if "retrieval" in result:
        row["recall_at_1"] = mean(value for way, value in result["retrieval"].items() if way != "chance")
    return row


if __name__ == "__main__":
    run_command(main)
