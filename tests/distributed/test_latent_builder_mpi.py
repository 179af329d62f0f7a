"""The latent builder as it runs on clusters: real MPI processes, one of which may die."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from prediff.latents.layout import list_groups
from prediff.latents.verify import verify_group

SCRIPT = Path(__file__).parents[1] / "prediff" / "latents" / "build_latents.py"
MPIRUN = shutil.which(
    "mpirun", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(MPIRUN is None, reason="no mpirun: install the extra `mpi`"),
]


def start(ranks: int, path: Path, *options: str, module: str = "mpi4py") -> subprocess.Popen:
    run_with = ["-m", module] if module else []
    return subprocess.Popen(
        [MPIRUN, "-n", str(ranks), sys.executable, *run_with, SCRIPT, path, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen) -> list[dict]:
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    return [json.loads(report) for report in re.findall(r"{[^}]*}", output)]  # lines may mix


def all_files(path: Path) -> dict[Path, bytes]:
    return {file.relative_to(path): file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def built_alone(tmp_path_factory):
    path = tmp_path_factory.mktemp("alone")
    subprocess.run([sys.executable, SCRIPT, path], check=True, stdout=subprocess.DEVNULL)
    return all_files(path)


def test_two_ranks_build_the_same_bytes_as_one_process(tmp_path, built_alone):
    reports = finish(start(2, tmp_path))
    assert sorted(report["rank"] for report in reports) == [0, 1]
    assert [report["computed"] for report in reports] == [2, 2]
    assert all(report["complete"] and report["size"] == 2 for report in reports)
    assert all_files(tmp_path) == built_alone


@pytest.mark.parametrize("module", ["mpi4py", ""])
def test_an_error_on_one_rank_ends_all_with_one_line(tmp_path, module):
    process = start(2, tmp_path, "--pause", "0.02", "--fail-at-event", "4", module=module)
    _, errors = process.communicate(timeout=30)
    assert process.returncode != 0
    assert "error on rank 1: event 4: its file is truncated" in errors
    assert "Traceback" not in errors
    reports = finish(start(2, tmp_path))
    assert all(report["complete"] for report in reports)


def test_after_a_rank_was_killed_other_ranks_continue_on_another_number(tmp_path, built_alone):
    process = start(2, tmp_path, "--pause", "0.2")
    deadline = time.monotonic() + 30
    while not list(tmp_path.rglob("shard_*.json")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    (sign,) = tmp_path.rglob("builder_0001_of_0002")
    os.kill(json.loads(sign.read_text())["pid"], signal.SIGKILL)
    process.communicate(timeout=30)
    assert process.returncode != 0
    reports = finish(start(3, tmp_path))
    assert sum(report["kept"] for report in reports) >= 1
    assert sum(report["kept"] + report["computed"] for report in reports) == 4
    assert all_files(tmp_path) == built_alone


def test_of_two_mpi_jobs_at_once_one_finishes_and_the_store_is_whole(tmp_path, built_alone):
    jobs = [start(2, tmp_path, "--pause", "0.1") for _ in range(2)]
    results = [job.communicate(timeout=60) for job in jobs]
    assert 0 in [job.returncode for job in jobs], results
    for job, (_, errors) in zip(jobs, results, strict=True):
        assert job.returncode == 0 or "another builder is at work" in errors
    assert all_files(tmp_path) == built_alone
    assert verify_group(list_groups(tmp_path)[0]).whole
