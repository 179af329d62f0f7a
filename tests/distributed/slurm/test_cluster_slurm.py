"""`sbatch launch/cluster.slurm` on a real Slurm: two nodes, a warning signal, a requeue."""

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from kill_driver import losses
from small_job import SMALLEST
from two_nodes import TwoNodes, missing

from hpc.checkpoint.format import Checkpoint, read_checkpoint
from hpc.checkpoint.store import find_latest
from prediff.config import load_config, save_config

PROJECT = Path(__file__).parents[3]
STEPS = 60
TOLERANCE = 1e-5
ENDED = ("COMPLETED", "FAILED", "TIMEOUT", "CANCELLED")
SETTINGS = [
    *SMALLEST,
    f"train_diffusion.duration={STEPS} steps",
    f"train_diffusion.checkpoint_every={STEPS}",
    f"train_diffusion.validate_every={STEPS}",
    "train_diffusion.pictured_forecasts=0",
]
ARGUMENTS = [f"--set={text}" for text in SETTINGS]

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
def whole(project, finished):
    """A denoiser that one process trains and nothing interrupts, on the latents of a finished run.

    The compiled graphs of that run are there too.
    """
    shutil.copytree(
        finished[0] / "runs",
        project / "runs",
        symlinks=True,
        ignore=shutil.ignore_patterns("starts", "diffusion", "forecast", "evaluation", "log"),
    )
    run = (project / "runs/first").rename(project / "runs/whole")
    save_config(load_config(None, SETTINGS), run / "config.yaml")
    shutil.copytree(run, project / "runs/warned")
    command = ["prediff", "train", "diffusion", "--name", "whole", *ARGUMENTS]
    subprocess.run(command, check=True)
    return run


@pytest.fixture(scope="module")
def warned(project, cluster, whole):
    """The same by a job, warned and requeued in its training: (run, job log, step of the stop)."""
    run = project / "runs/warned"
    job = submit(cluster, "launch/cluster.slurm", "--name", "warned", *ARGUMENTS)
    log, rank_0 = project / f"slurm-{job}.log", run / "log/rank_0.log"
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
    logs = "".join(text(path) for path in sorted(run.glob("log/start_*/rank_0.log")))
    steps = re.findall(rf"diffusion  step (\d+)/{STEPS} ", logs)
    assert list(map(int, steps)) == list(range(1, STEPS + 1))
    assert (run / "evaluation/scores.json").exists()


def test_its_losses_are_those_of_the_uninterrupted_run(warned, whole):
    run, _, _ = warned
    expected, found = losses(whole)["diffusion"], losses(run)["diffusion"]
    assert list(found) == list(expected) == list(range(1, STEPS + 1))
    for step, loss in expected.items():
        assert found[step] == pytest.approx(loss, rel=TOLERANCE), step
    expected, found = last_checkpoint(whole).state["scores"], last_checkpoint(run).state["scores"]
    assert "mean_squared_error_ema" in expected
    for score, value in expected.items():
        assert found[score] == pytest.approx(value, rel=TOLERANCE), score


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
