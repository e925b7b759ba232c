"""MuMu as a TFDS builder: read without TensorFlow."""

import shutil
import subprocess
import sys

import pytest
from conftest import run_python
from mumu_fixture import write_mumu

CODE = """
import sys
import tensorflow_datasets as tfds
import mumu_jax.data.tfds_builder

download = tfds.download.DownloadConfig(manual_dir=sys.argv[1])
source = tfds.data_source(
    f"mumu/{sys.argv[3]}", split="train", data_dir=sys.argv[2],
    download_and_prepare_kwargs={"download_config": download},
)
builder = tfds.builder_from_directory(f"{sys.argv[2]}/mumu/{sys.argv[3]}/1.0.0")
assert "Oramas" in builder.info.citation and "owner" in str(builder.info.redistribution_info)
assert len(builder.as_data_source("train")) == len(source)
assert "tensorflow" not in sys.modules
first = source[0]
print(len(source), *sorted(first))
"""


@pytest.mark.parametrize(("modality", "fields"), [("text", "categories genres text"), ("timbre", "genres timbre")])
def test_data_source(tmp_path, modality, fields):
    write_mumu(tmp_path / "MUMU")
    command = [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", CODE]
    arguments = [str(tmp_path / "MUMU"), str(tmp_path / "tfds"), modality]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    n, *found = done.stdout.splitlines()[-1].split()
    assert int(n) > 5
    assert " ".join(name for name in found if not name.endswith("_id")) == fields


# As users write it: no guard, and no audio in the folder.
SCRIPT = """
import sys
import tensorflow_datasets as tfds
import mumu_jax.data.tfds_builder
from mumu_jax.errors import UserError

how = {"download_config": tfds.download.DownloadConfig(manual_dir=sys.argv[1])}
made = tfds.data_source("mumu", split="train", data_dir=sys.argv[2], download_and_prepare_kwargs=how)
assert made[0]["text"]
try:
    tfds.data_source("mumu/audio", split="train", data_dir=sys.argv[2], download_and_prepare_kwargs=how)
except UserError as error:
    print(error)
"""


def test_the_default_is_text_and_what_is_not_there_is_named(tmp_path):
    write_mumu(tmp_path / "MUMU")
    shutil.rmtree(tmp_path / "MUMU" / "audio")
    (tmp_path / "script.py").write_text(SCRIPT)
    done = run_python(tmp_path / "script.py", tmp_path / "MUMU", tmp_path / "tfds")
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()[-1]
    assert said.startswith("expected audio of albums in the split train, found none in")
    assert f"run python -m mumu_jax.doctor {tmp_path / 'MUMU'}," in said
