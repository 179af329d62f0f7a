import subprocess
from pathlib import Path

import pytest
from small_job import msrun_8p


@pytest.fixture(scope="session", autouse=True)
def _graphs_of_all_tests(tmp_path_factory, worker_id):
    """Jobs of all tests keep their compiled graphs in one folder: most of them are alike."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "graphs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREDIFF_GRAPHS", str(folder))
        yield


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess]:
    """A folder with the finished run `first`, and what the command said."""
    folder = tmp_path_factory.mktemp("main_job")
    job = msrun_8p(folder, "--name", "first")
    assert job.returncode == 0, job.stdout[-3000:] + job.stderr[-3000:]
    return folder, job
