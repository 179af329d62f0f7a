"""A run that earlier software left after half of its denoiser's training is opened and goes on.

tests/data/stored_run was made at commit b810dcb; `expected.json` is what the other half gave there.
"""

import json
import shutil
from pathlib import Path

import mindspore as ms
import pytest

from hpc.checkpoint.format import read_checkpoint
from hpc.cluster.runtime import ALONE
from hpc.cluster.stop import StopRequest
from prediff.config import load_config
from prediff.run_folder import RunFolder
from prediff.stages import first_unfinished, run_stages
from prediff.status import run_status
from prediff.trained_networks import newest_checkpoint

STORED = Path(__file__).parents[2] / "data" / "stored_run"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(STORED, tmp_path / "runs" / "stored")
    return RunFolder(Path("runs") / "stored")


def test_what_an_earlier_run_made_counts_as_done(folder):
    config = load_config(folder.config)
    assert first_unfinished(folder, config) == "diffusion"
    progress = {task.name: task.progress for task in run_status(folder, config)}
    assert progress["autoencoder"] == "step 4 of 4"
    assert progress["latents"] == "6 of 6 shards in 1 groups"
    assert progress["diffusion"] == "step 2 of 4"


@pytest.mark.slow
def test_an_earlier_run_goes_on_as_it_would_have_gone_on(folder):
    ms.set_context(mode=ms.GRAPH_MODE)
    config = load_config(folder.config)
    with StopRequest(stop_file=folder.stop_file, max_seconds=None, leads=True) as stop:
        run_stages(folder, config, ALONE, stop, names={"diffusion"})
    expected = json.loads((STORED / "expected.json").read_text())["scores"]
    state = read_checkpoint(newest_checkpoint(folder, "diffusion")).state
    assert state["step"] == 4
    assert state["scores"] == pytest.approx(expected, rel=1e-4)
