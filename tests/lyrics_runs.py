"""Songs with their lyrics for tests, and all that users do with a run that sees lyrics."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from conftest import REPOSITORY, run_python

from mumu_jax import evaluate, export, prepare, report, tag, train
from mumu_jax.data.manifest import read_manifest
from mumu_jax.runs.folder import load_run


def prepare_lyrics(small_data: Path, folder: Path, modalities: str, *more: str) -> Path:
    """Prepare the small data's songs."""
    source = ["--source=manifest", f"--input={small_data / 'manifest.jsonl'}", *more]
    assert prepare.main([*source, f"--data_dir={folder / 'data'}", f"--modalities={modalities}", "--workers=2"]) == 0
    return folder / "data"


def own_songs(small_data: Path, folder: Path) -> Path:
    """Four songs: with a text file, with one of time stamps and with lyrics in its tags, and without any."""
    from mutagen.flac import FLAC

    folder.mkdir()
    tracks = [track for album in read_manifest(small_data / "manifest.jsonl") for track in album.tracks]
    for name, track in zip("abcd", (t for t in tracks if t.audio.suffix == ".flac"), strict=False):
        shutil.copy(track.audio, folder / f"{name}.flac")
        words = track.lyrics.read_text()
        if name == "a":
            (folder / "a.txt").write_text(words)
        elif name in "bc":
            flac = FLAC(folder / f"{name}.flac")
            flac["lyrics"] = words if name == "c" else "fire fire fire"
            flac.save()
            if name == "b":
                (folder / "b.lrc").write_text("[00:01.00]" + words)
    return folder


def tags_of(folder: Path, *arguments: str | Path) -> dict[str, dict]:
    """Tag; return the rows by the files' names."""
    out = folder / "tags.jsonl"
    out.unlink(missing_ok=True)
    tag.main([*map(str, arguments), f"--out={out}", "--workers=1"])
    return {Path(row["path"]).name: row for row in map(json.loads, out.read_text().splitlines())}


def scores(rows: dict[str, dict]) -> dict[str, dict[str, float]]:
    return {name: {one["genre"]: one["score"] for one in row["genres"]} for name, row in rows.items()}


def use_run(
    settings: Sequence[str], data: Path, folder: Path, songs: list[Path], killed: str = "killed_train.py"
) -> tuple[Path, dict[str, dict]]:
    """Train, after a kill, evaluate, report, tag and export; the export gives the run's tags.  Return run and tags.

    `killed` is the script in tests/ that is killed, on 8 devices.
    """
    settings = [*settings, f"--data_dir={data}"]
    run, straight = folder / "run", folder / "straight"
    assert train.main([*settings, f"--workdir={straight}"]) == 0
    script, eager = REPOSITORY / "tests" / killed, "--config.loop.checkpoint_minutes=0"
    done = run_python(script, "chunk:3", *settings, f"--workdir={run}", eager, JAX_NUM_CPU_DEVICES="8")
    assert done.returncode == -9, done.stderr
    assert train.main([*settings, f"--workdir={run}"]) == 0
    assert load_run(run).fingerprint == load_run(straight).fingerprint
    result = json.loads((run / "eval_test.json").read_text())
    evaluate.main([f"--workdir={run}"])
    assert json.loads((run / "eval_test.json").read_text()) == result
    report.main([f"--workdir={run}"])
    rows = tags_of(folder, f"--workdir={run}", *songs)
    assert export.main([f"--workdir={run}", f"--out={folder / 'model'}"]) in (0, None)
    assert (folder / "model" / "vocabulary.txt").read_bytes() == (run / "vocabulary.txt").read_bytes()
    shutil.rmtree(run)
    exported = scores(tags_of(folder, f"--model={folder / 'model'}", *songs))
    for name, of_song in scores(rows).items():
        assert exported[name] == pytest.approx(of_song, abs=1e-4)
    return straight, rows
