"""A whole job with a pipeline: it trains, and its checkpoints fit every mesh."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hpc.checkpoint.format import read_checkpoint
from hpc.checkpoint.store import find_latest
from hpc.cluster.supervisor import launch

TRAIN = ["train", "diffusion", "--name", "first"]


def prediff(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "prediff", *arguments],
        cwd=folder,
        env={**os.environ, "COLUMNS": "160"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


@pytest.mark.alone
def test_a_run_of_two_stages_goes_on_as_one_process_from_its_checkpoint(
    finished, tmp_path, monkeypatch
):
    folder, _ = finished
    shutil.copytree(folder / "runs", tmp_path / "runs", symlinks=True)
    run = tmp_path / "runs/first"
    shutil.rmtree(run / "diffusion")
    monkeypatch.chdir(tmp_path)
    code = launch(
        ["prediff", *TRAIN, "--set", "parallel.pipeline=2"],
        workers=2,
        log_dir=run / "log",
        stop_file=run / "stop",
        port=None,
    )
    said = (run / "log/rank_0.log").read_text()
    assert code == 0, said[-3000:]
    assert "mesh 1 x 2 (data x pipeline), 2 ranks" in said
    checkpoints = run / "diffusion/checkpoints"
    newest = find_latest(checkpoints)
    assert newest is not None
    pipelined = read_checkpoint(newest)
    assert pipelined.state["mesh"] == {"data": 1, "pipeline": 2}
    assert "mean_squared_error_ema" in pipelined.state["scores"]

    shutil.rmtree(newest)
    job = prediff(tmp_path, *TRAIN, "--set", "parallel.pipeline=1")
    assert job.returncode == 0, job.stdout[-3000:] + job.stderr[-3000:]
    assert "step 3/4" in job.stdout
    assert "step 1/4" not in job.stdout
    whole = read_checkpoint(find_latest(checkpoints))
    assert whole.state["mesh"] == {"data": 1, "pipeline": 1}
    for score, value in pipelined.state["scores"].items():
        assert whole.state["scores"][score] == pytest.approx(value, rel=1e-4), score
    for group, arrays in pipelined.arrays.items():
        assert arrays.keys() == whole.arrays[group].keys()
    # AdamW makes steps of full size out of gradients that are rounding, so a few weights differ.
    apart = np.concatenate(
        [
            np.abs(array - whole.arrays["model"][name]).ravel()
            for name, array in pipelined.arrays["model"].items()
        ]
    )
    assert np.mean(apart > 1e-5) < 0.01


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("parallel.pipeline=3", "train_diffusion: 3 pipeline stages do not divide 2 ranks"),
        ("denoiser.depths=[1]", "train_diffusion: 2 pipeline stages need 4 blocks and the network"),
        ("denoiser.global_vectors=2", "a pipeline does not carry global vectors"),
    ],
)
def test_a_mesh_that_cannot_be_is_refused_before_any_rank_starts(tmp_path, setting, said):
    job = prediff(
        tmp_path, "launch", "--workers", "2", "--set", "parallel.pipeline=2", "--set", setting
    )
    assert job.returncode == 2
    assert said in job.stderr.replace("\n", " ")
    assert "Traceback" not in job.stderr
