"""`sbatch launch/cluster.slurm` on a real Slurm: two nodes, a warning signal, a requeue."""

import re
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from two_nodes import TwoNodes, missing

sys.path.insert(0, str(Path(__file__).parents[1]))
from ranks import run_ranks

from hpc.checkpoint.format import read_checkpoint
from hpc.checkpoint.store import find_latest

PROJECT = Path(__file__).parents[3]
STEPS = 150
SETTINGS = {
    "data.frame_size": 32,
    "data.context_frames": 4,
    "data.forecast_frames": 3,
    "data.synthetic.train_events": 10,
    "data.synthetic.test_events": 2,
    "autoencoder.latent_channels": 4,
    "autoencoder.widths": "[8, 8, 8]",
    "denoiser.base_width": 8,
    "denoiser.num_heads": 1,
    "train_autoencoder.duration": "2 steps",
    "train_autoencoder.global_batch": 4,
    "train_diffusion.duration": f"{STEPS} steps",
    "train_diffusion.global_batch": 4,
    "train_diffusion.log_every": 1,
    "train_diffusion.checkpoint_every": STEPS,
    "train_diffusion.validate_every": STEPS,
    "forecast.cases": 2,
    "forecast.steps": 2,
    "forecast.ensemble_members": 2,
}
ARGUMENTS = [f"--set={key}={value}" for key, value in SETTINGS.items()]

pytestmark = [pytest.mark.slow, pytest.mark.skipif(missing() is not None, reason=str(missing()))]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder to submit from, with runs of its own."""
    (tmp_path / "launch").symlink_to(PROJECT / "launch")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    return tmp_path


@pytest.fixture
def cluster(tmp_path_factory):
    with TwoNodes(tmp_path_factory.mktemp("slurm")) as started:
        yield started


def submit(cluster: TwoNodes, *arguments: str) -> str:
    done = cluster.run(["sbatch", "--parsable", "launch/cluster.slurm", *arguments])
    return done.stdout.strip()


def wait_for(what: str, condition, *, job_log: Path, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"no {what}:\n{text(job_log)[-4000:]}"
        time.sleep(0.2)


def text(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


def test_a_warned_job_requeues_itself_and_ends_like_an_uninterrupted_one(project, cluster):
    job = submit(cluster, "--name", "warned", *ARGUMENTS)
    log, rank_0 = project / f"slurm-{job}.log", project / "runs/warned/log/rank_0.log"
    seen = {"job_log": log, "seconds": 500}

    wait_for("training step", lambda: f"step 3/{STEPS}" in text(rank_0), **seen)
    cluster.run(["scancel", "--batch", "--signal=USR1", job])
    wait_for("requeue", lambda: "requeued; it continues by itself" in text(log), **seen)
    saved = find_latest(project / "runs/warned/diffusion/checkpoints")
    stopped_at = read_checkpoint(saved).state["step"]
    assert 3 <= stopped_at < STEPS
    wait_for("end", lambda: cluster.state(job) in ("COMPLETED", "FAILED", "TIMEOUT"), **seen)
    assert cluster.state(job) == "COMPLETED", text(log)[-4000:]

    # Each start said what it was; no step was done twice or left out, on either side of the stop.
    assert "start 1: 1 ranks on each of node0, node1" in text(log)
    assert "start 2: 1 ranks on each of node0, node1" in text(log)
    steps = re.findall(rf"diffusion  step (\d+)/{STEPS} ", text(rank_0))
    assert list(map(int, steps)) == list(range(1, STEPS + 1))
    assert (project / "runs/warned/evaluation/scores.json").exists()

    shutil.copytree(project / "runs/warned", project / "runs/whole")
    shutil.rmtree(project / "runs/whole/diffusion")
    run_ranks(
        PROJECT / "prediff/__main__.py",
        *("train", "diffusion", "--name", "whole"),
        ranks=2,
        folder=project,
        timeout=400,
    )
    warned, whole = (
        read_checkpoint(find_latest(project / "runs" / name / "diffusion/checkpoints"))
        for name in ("warned", "whole")
    )
    assert warned.state["step"] == whole.state["step"] == STEPS
    for score, value in whole.state["scores"].items():
        assert warned.state["scores"][score] == pytest.approx(value, rel=1e-5), score
    for name, values in whole.arrays["model"].items():
        np.testing.assert_allclose(
            warned.arrays["model"][name], values, rtol=0, atol=1e-5, err_msg=name
        )
