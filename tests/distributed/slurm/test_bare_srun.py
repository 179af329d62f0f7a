"""`srun prediff run`: several processes that know nothing of each other would share one folder."""

import shutil

import pytest
from two_nodes import TwoNodes, missing

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    reason = missing()
    if reason:
        pytest.skip(reason)
    with TwoNodes(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


@pytest.mark.parametrize("command", [["run"], ["launch"], ["train", "autoencoder"]])
def test_bare_srun_is_refused_in_one_line_and_leaves_nothing(cluster, tmp_path, command):
    shutil.rmtree(tmp_path / "runs", ignore_errors=True)
    step = ["srun", "--ntasks=2", "--nodes=2", f"--chdir={tmp_path}", "prediff"]
    done = cluster.run([*step, *command, "--name", "one"], check=False, timeout=120, stderr=-1)
    assert done.returncode == 2, done.stderr
    said = [line for line in done.stderr.splitlines() if not line.startswith("srun: ")]
    assert len(said) == 1
    assert said[0].startswith("error: srun started 2 processes")
    assert not (tmp_path / "runs").exists()


def test_one_task_of_srun_is_a_plain_start(cluster, tmp_path):
    step = ["srun", "--ntasks=1", f"--chdir={tmp_path}", "prediff"]
    done = cluster.run([*step, "run", "--set", "nonsense=1"], check=False, timeout=120, stderr=-1)
    assert "unknown key nonsense" in done.stderr
