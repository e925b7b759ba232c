"""A stand-in for `mumu_jax.train`: it leaves what a finished run leaves, or fails as told.

`python fake_train.py FOLDER --config=ROW …`: FOLDER/told.json says how rows behave, FOLDER/commands.jsonl and
FOLDER/done keep the flags of each call, and what it did.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

ALBUM = {"coverage_at_1": 0.5, "coverage_at_3": 0.5, "coverage_at_5": 0.5}
AUC = {"text_vsm_sem_cosine": 0.8, "fusion_ati_cosine": 0.9}


def fail(how: str) -> None:
    """Fail like `mumu_jax.train` with a damaged file, a bug, too little memory, or a signal to the whole table."""
    if how == "user error":
        print("error: no", file=sys.stderr)
        sys.exit(2)
    if how == "bug":
        raise ValueError("broken\nin two lines")
    if how == "out of memory":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "signal":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
        os.kill(os.getppid(), signal.SIGTERM)
    time.sleep(60)


def main() -> None:
    folder, arguments = Path(sys.argv[1]), sys.argv[2:]
    flags = dict(argument.removeprefix("--").split("=", 1) for argument in arguments)
    row, seed, run = flags["config"], int(flags["config.seed"]), Path(flags["workdir"])
    told = json.loads((folder / "told.json").read_text())
    with (folder / "commands.jsonl").open("a") as file:
        file.write(f"{json.dumps(arguments)}\n")
    print(f"training {row}", flush=True)
    if row in told["fails"]:
        fail(told["fails"][row])
    run.mkdir(parents=True, exist_ok=True)
    (run / "perf.jsonl").write_text('{"phase": "album", "perf/epoch_s": 2.0}\n')
    (run / "config.json").write_text('{"params": 1000, "data": {"checksum": "d"}}')
    album = {"roc_auc_macro": told["auc"].get(row, AUC.get(row, 0.7) + seed / 100), **ALBUM}
    result = {"album": album, "data": {"checksum": "d"}}
    (run / f"eval_{told['split'].get(row, 'test')}.json").write_text(json.dumps(result))
    with (folder / "done").open("a") as file:
        file.write(f"{row} {seed}\n")


main()
