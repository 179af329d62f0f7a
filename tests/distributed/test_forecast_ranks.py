"""Ranks share the members of one forecast, and no member depends on how many there are."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from radar_files import radar_file, radar_frames
from untrained_run import untrained_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("job")
    untrained_run(folder / "run")
    radar = radar_frames()
    radar[0, 3, 4] = np.nan
    radar_file(folder / "radar.nc", radar)
    return folder


def forecast(folder: Path, *words: str, out: str) -> subprocess.CompletedProcess:
    command = "import sys; from prediff.cli import main; sys.argv[0] = 'prediff'; main()"
    words = ("forecast", "--checkpoint", "run", "--input", "radar.nc", *words, "--out", out)
    return subprocess.run(
        [sys.executable, "-c", command, *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


def test_two_ranks_make_the_members_that_one_process_makes(folder):
    jobs = {}
    for workers in ("1", "2"):
        jobs[workers] = forecast(folder, "--workers", workers, out=f"{workers}.nc")
        assert jobs[workers].returncode == 0, jobs[workers].stdout + jobs[workers].stderr
    for workers, job in jobs.items():
        assert job.stdout.count(f"{workers}.nc: 3 members, 2 lead times to 20 minutes") == 1
    with (
        xr.open_dataset(folder / "1.nc", decode_timedelta=False) as alone,
        xr.open_dataset(folder / "2.nc", decode_timedelta=False) as shared,
    ):
        np.testing.assert_allclose(shared["vil_code"], alone["vil_code"], atol=2e-3)
        assert np.ptp(alone["vil_code"].values[:, 0, 0, 0]) > 1
        assert np.isnan(shared["vil"].values[:, :, 3, 4]).all()
        assert shared.attrs == alone.attrs


def test_what_ranks_find_wrong_is_one_line_and_code_2(folder):
    job = forecast(folder, "--workers", "2", "--solver", "quick", out="f.nc")
    assert job.returncode == 2
    # Rank 0 says it, or the launcher for a rank that was faster.
    said = job.stdout + job.stderr
    assert job.stdout.count("error: ") <= 1
    assert "error: solver 'quick' is unknown: choose one of ddpm" in said
    assert "Traceback" not in said
    assert not (folder / "f.nc").exists()
