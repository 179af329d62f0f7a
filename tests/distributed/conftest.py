import subprocess
from pathlib import Path

import pytest
from small_job import msrun_8p


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess]:
    """A folder with the finished run `first`, and what the command said."""
    folder = tmp_path_factory.mktemp("main_job")
    job = msrun_8p(folder, "--name", "first")
    assert job.returncode == 0, job.stdout[-3000:] + job.stderr[-3000:]
    return folder, job
