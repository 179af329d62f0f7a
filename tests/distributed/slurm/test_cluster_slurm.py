"""`sbatch launch/cluster.slurm` on a real Slurm: two nodes, a warning signal, a requeue."""

import re
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from two_nodes import TwoNodes, missing

from hpc.checkpoint.format import Checkpoint, read_checkpoint
from hpc.checkpoint.store import find_latest
from hpc.launcher import launch

PROJECT = Path(__file__).parents[3]
STEPS = 60
ENDED = ("COMPLETED", "FAILED", "TIMEOUT", "CANCELLED")
SETTINGS = {
    "data.frame_size": 32,
    "data.context_frames": 4,
    "data.forecast_frames": 3,
    "data.synthetic.train_events": 10,
    "data.synthetic.test_events": 2,
    "autoencoder.latent_channels": 4,
    "autoencoder.widths": "[8, 8, 8]",
    "denoiser.base_width": 16,
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

pytestmark = [pytest.mark.cluster, pytest.mark.skipif(missing() is not None, reason=str(missing()))]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder to submit from, with runs of its own; the current folder of these tests."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "launch").symlink_to(PROJECT / "launch")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
        patch.setenv("HYDRA_IFACE", "cable")  # both nodes have this host's name
        yield folder


@pytest.fixture(scope="module")
def cluster(project, tmp_path_factory):
    with TwoNodes(tmp_path_factory.mktemp("slurm")) as started:
        yield started


@pytest.fixture(scope="module")
def warned(project, cluster):
    """The finished run, warned and requeued in its training: (run, job log, step of the stop)."""
    job = submit(cluster, "launch/cluster.slurm", "--name", "warned", *ARGUMENTS)
    run, log = project / "runs/warned", project / f"slurm-{job}.log"
    rank_0 = run / "log/rank_0.log"
    wait_for("training step", lambda: f"step 3/{STEPS}" in text(rank_0), log)
    cluster.run(["scancel", "--batch", "--signal=USR1", job])
    wait_for("requeue", lambda: "requeued; it continues by itself" in text(log), log)
    stopped_at = last_checkpoint(run).state["step"]
    wait_for("end", lambda: cluster.state(job) in ENDED, log)
    assert cluster.state(job) == "COMPLETED", text(log)[-4000:]
    return run, text(log), stopped_at


def submit(cluster: TwoNodes, *arguments: str) -> str:
    return cluster.run(["sbatch", "--parsable", *arguments]).stdout.strip()


def wait_for(what: str, condition: Callable[[], bool], log: Path, *, seconds: float = 600) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"no {what}:\n{text(log)[-4000:]}"
        time.sleep(0.2)


def text(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


def last_checkpoint(run: Path) -> Checkpoint:
    return read_checkpoint(find_latest(run / "diffusion/checkpoints"))


def test_a_warned_job_requeues_itself_and_does_each_step_once(warned):
    run, log, stopped_at = warned
    assert 3 <= stopped_at < STEPS
    assert "start 1: 1 ranks on each of node0, node1" in log
    assert "start 2: 1 ranks on each of node0, node1" in log
    steps = re.findall(rf"diffusion  step (\d+)/{STEPS} ", text(run / "log/rank_0.log"))
    assert list(map(int, steps)) == list(range(1, STEPS + 1))
    assert (run / "evaluation/scores.json").exists()


def test_it_ends_like_an_uninterrupted_run(warned, project):
    whole = project / "runs/whole"
    shutil.copytree(warned[0], whole)
    shutil.rmtree(whole / "diffusion")
    code = launch(
        ["prediff", "train", "diffusion", "--name", "whole"],
        workers=2,
        log_dir=Path("runs/whole/log"),
        stop_file=Path("runs/whole/stop"),
        port=None,
    )
    assert code == 0

    expected, found = last_checkpoint(whole), last_checkpoint(warned[0])
    assert found.state["step"] == expected.state["step"] == STEPS
    for score, value in expected.state["scores"].items():
        assert found.state["scores"][score] == pytest.approx(value, rel=1e-5), score
    for name, values in expected.arrays["model"].items():
        np.testing.assert_allclose(
            found.arrays["model"][name], values, rtol=0, atol=1e-5, err_msg=name
        )


def test_mpi_ranks_on_two_nodes_write_the_same_latents(warned, cluster, project):
    again = project / "runs/again"
    shutil.copytree(warned[0], again)
    shutil.rmtree(again / "latents")
    job = submit(cluster, "launch/cluster_mpi.slurm", "--name", "again")
    log = project / f"slurm-{job}.log"
    wait_for("end", lambda: cluster.state(job) in ENDED, log)
    assert cluster.state(job) == "COMPLETED", text(log)[-4000:]
    assert "rank 0 of 2" in text(log)
    assert "rank 1 of 2" in text(log)
    made = [p.relative_to(again) for p in (again / "latents").rglob("*") if p.is_file()]
    assert any(path.name.startswith("c.") for path in made)
    for path in made:
        assert (again / path).read_bytes() == (warned[0] / path).read_bytes(), path
