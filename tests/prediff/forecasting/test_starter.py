"""The packaged model: whole or refused, usable at once, open about what it does not hold for."""

import shutil

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

from hpc.errors import UserError
from prediff.cli import app
from prediff.starter.package import (
    CARD,
    FOLDER,
    WEIGHTS,
    starter_card,
    starter_warnings,
    starter_weights,
)


def rain(*, minutes=5, side=64, frames=7):
    """Rain that moves two pixels per frame, on a grid of 3 km."""
    y, x = np.mgrid[:side, :side]
    code = np.stack(
        [150 * np.exp(-((x - 20 - 2 * k) ** 2 + (y - side / 2) ** 2) / 60.0) for k in range(frames)]
    )
    time = np.datetime64("2024-05-01T12:00", "ns") + minutes * np.arange(frames).astype(
        "timedelta64[m]"
    )
    axis = 3000.0 * np.arange(side)
    metres = {"units": "m"}
    return xr.Dataset(
        {"vil_code": (("time", "y", "x"), np.rint(code).astype(np.float32), {"units": "1"})},
        coords={"time": time, "y": ("y", axis, metres), "x": ("x", axis, metres)},
    )


def starter_forecast(tmp_path, dataset, *options):
    dataset.to_netcdf(tmp_path / "radar.nc")
    out = tmp_path / "out.nc"
    arguments = ["forecast", "--starter", "--input", str(tmp_path / "radar.nc")]
    result = CliRunner().invoke(app, [*arguments, "--out", str(out), *options])
    assert result.exit_code == 0, result.output
    with xr.open_dataset(out) as forecast:
        return forecast.load(), result.output


@pytest.mark.slow
def test_starter_forecasts_a_file_without_a_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    forecast, said = starter_forecast(tmp_path, rain(), "--members", "4")
    assert dict(forecast.sizes) == {"realization": 4, "lead_time": 6, "y": 64, "x": 64}
    assert forecast["lead_time"].values.tolist() == [5, 10, 15, 20, 25, 30]
    assert forecast.attrs["denoiser_sha256"] == starter_card().sha256
    assert "Finnish Meteorological Institute" in forecast.attrs["training_data"]
    assert "warning" not in forecast.attrs
    assert "warning" not in said
    code = forecast["vil_code"].values
    assert len({member.tobytes() for member in code}) == 4
    # The rain goes on to the right, where the forecast follows it.
    mean = code.mean(axis=0)
    columns = (mean * np.arange(64)).sum(axis=(1, 2)) / mean.sum(axis=(1, 2))
    assert np.all(np.diff(columns) > 0.5)


@pytest.mark.slow
def test_starter_warns_of_frames_unlike_its_training_in_the_file_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    forecast, said = starter_forecast(tmp_path, rain(minutes=15, side=48), "--members", "2")
    assert forecast.sizes["y"] == 48
    for what in ("15 minutes apart", "48x48"):
        assert what in forecast.attrs["warning"]
        assert what in said


def test_a_changed_byte_is_refused(tmp_path):
    for name in (WEIGHTS, CARD):
        shutil.copy(FOLDER / name, tmp_path / name)
    whole = starter_weights(tmp_path)
    assert sum(array.size for array in whole.values()) > 100_000
    content = bytearray((tmp_path / WEIGHTS).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / WEIGHTS).write_bytes(content)
    with pytest.raises(UserError, match="was changed: its SHA-256"):
        starter_weights(tmp_path)
    (tmp_path / WEIGHTS).unlink()
    with pytest.raises(UserError, match="install prediff again"):
        starter_weights(tmp_path)


def test_warnings_name_cadence_size_and_pixels():
    assert starter_warnings(minutes=5, height=64, width=64, kilometres=3.0) == []
    assert starter_warnings(minutes=10, height=64, width=64, kilometres=None) == []
    found = starter_warnings(minutes=2, height=64, width=72, kilometres=1.0)
    assert len(found) == 3


def test_starter_and_a_run_exclude_each_other():
    arguments = ["forecast", "--starter", "--checkpoint", "x", "--input", "x.nc", "--out", "y.nc"]
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, UserError)
    assert "exclude each other" in str(result.exception)
