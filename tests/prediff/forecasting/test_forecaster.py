"""The public forecaster and its command, on networks that learned nothing."""

import json
import os

import numpy as np
import pytest
import xarray as xr
from radar_files import START, radar_file, radar_frames
from typer.testing import CliRunner
from untrained_run import untrained_run

from hpc.errors import UserError
from prediff.cli import app
from prediff.config import load_config
from prediff.data.vil import vil_to_water
from prediff.forecasting.file import read_forecast, write_dataset
from prediff.forecasting.forecaster import Forecaster, trained_cadence


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return untrained_run(tmp_path_factory.mktemp("runs") / "small")[0].path


@pytest.fixture(scope="module")
def forecaster(run):
    return Forecaster(run)


@pytest.fixture(scope="module")
def forecast(forecaster):
    return forecaster(radar_frames())


def test_a_forecast_has_members_lead_times_units_and_the_inputs_grid(forecast):
    assert forecast["vil"].dims == ("realization", "lead_time", "y", "x")
    assert dict(forecast.sizes) == {"realization": 3, "lead_time": 2, "y": 16, "x": 16}
    assert forecast["vil"].attrs["units"] == "kg m-2"
    assert forecast["lead_time"].values.tolist() == [10, 20]
    assert forecast["forecast_reference_time"] == START + np.timedelta64(20, "m")
    assert forecast["time"].values[-1] == START + np.timedelta64(40, "m")
    np.testing.assert_array_equal(forecast["lat"], radar_frames()["lat"])
    np.testing.assert_array_equal(forecast["x"], radar_frames()["x"])
    code = forecast["vil_code"].values
    assert np.isfinite(code).all()
    assert 0 <= code.min() < code.max() <= 255
    np.testing.assert_allclose(forecast["vil"], vil_to_water(code), rtol=1e-6)
    assert len(np.unique(code[:, 0, 0, 0])) == 3


def test_a_forecast_says_by_which_weights_and_settings_it_was_made(run, forecast):
    for key in ("denoiser_sha256", "autoencoder_sha256", "config_sha256"):
        assert len(forecast.attrs[key]) == 64
    assert (forecast.attrs["solver"], forecast.attrs["solver_steps"]) == ("dpmpp", 2)
    assert forecast.attrs["Conventions"] == "CF-1.7"


def test_a_member_is_the_same_beside_any_number_of_others(run, forecast):
    more = Forecaster(run, members=5, overrides=["forecast.batch=5"])(radar_frames())
    np.testing.assert_allclose(more["vil_code"][:3], forecast["vil_code"], atol=2e-3)
    assert not np.allclose(more["vil_code"][3], more["vil_code"][0], atol=1)


def test_calls_repeat_and_another_time_has_another_noise(forecaster, forecast):
    xr.testing.assert_identical(forecaster(radar_frames()), forecast)
    later = forecaster(radar_frames(start=START + np.timedelta64(10, "m")))
    assert not np.allclose(later["vil_code"], forecast["vil_code"], atol=1)


def test_the_graphs_are_compiled_once(forecaster, forecast):
    step = forecaster._forecast._sampler._step
    compiled = set(step.compile_cache)
    forecaster(radar_frames(seed=3))
    assert set(step.compile_cache) == compiled
    assert len(compiled) == 1


def test_missing_pixels_stay_missing_and_the_others_are_forecast(forecaster):
    frames = radar_frames()
    frames[1, 2:4, 5] = np.nan
    found = forecaster(frames)
    for name in ("vil", "vil_code"):
        missing = np.isnan(found[name].values)
        assert missing[:, :, 2:4, 5].all()
        assert missing.sum() == 3 * 2 * 2


def test_a_plain_array_is_forecast_at_the_runs_cadence(forecaster, forecast):
    found = forecaster(radar_frames().values, at=forecast["forecast_reference_time"].values[()])
    np.testing.assert_array_equal(found["vil_code"], forecast["vil_code"])
    assert found["lead_time"].values.tolist() == [10, 20]
    assert "time" not in forecaster(radar_frames().values).coords


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (radar_frames(2), "the radar holds 2 frames, the model takes 3"),
        (radar_frames(4), "the radar holds 4 frames, the model takes 3: choose"),
        (radar_frames(4).values, "the radar holds 4 frames, the model takes 3"),
        (radar_frames(size=24), "frames of 24x24, the model takes 16x16"),
        (radar_frames(minutes=5), "5 minutes apart, the model was trained on 10"),
        (radar_frames(units="dBZ"), "is reflectivity .dBZ., the run takes"),
        (radar_frames().values - 32, "are the values dBZ"),
        (radar_frames().where(radar_frames().time > START), "frame 2020-06-01 12:00 has no valid"),
    ],
)
def test_frames_that_do_not_fit_are_refused_in_one_line(forecaster, frames, message):
    with pytest.raises(UserError, match=message) as caught:
        forecaster(frames, place="the radar")
    assert "\n" not in str(caught.value)


def test_runs_that_cannot_forecast_are_refused(run, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="no run at "):
        Forecaster(tmp_path / "absent")
    with pytest.raises(UserError, match="solver 'quick' is unknown: choose one of ddpm"):
        Forecaster(run, solver="quick")
    with pytest.raises(UserError, match=r"exceeds diffusion\.noise_steps"):
        Forecaster(run, steps=2000)
    with pytest.raises(UserError, match="guides by oracle, which needs the truth"):
        Forecaster(run, overrides=["forecast.guidance.source=oracle"])
    bare, _ = untrained_run(tmp_path / "bare", ema=False)
    with pytest.raises(UserError, match="holds no ema weights: set forecast"):
        Forecaster(bare.path)
    Forecaster(bare.path, overrides=["forecast.weights=raw"])


def test_an_older_checkpoint_takes_its_cadence_from_the_data(tmp_path):
    folder, config = untrained_run(tmp_path / "old", data=True, cadence=None)
    assert trained_cadence(folder, config) == 10
    (folder.data / "CATALOG.csv").unlink()
    assert trained_cadence(folder, config) is None
    forecaster = Forecaster(folder.path)
    with pytest.raises(UserError, match="cadence of this run is not known"):
        forecaster(radar_frames().values)


def invoke(*words):
    return CliRunner().invoke(app, ["forecast", *map(str, words)], catch_exceptions=False)


def test_the_command_writes_what_the_call_returns(run, forecast, tmp_path):
    source = radar_file(tmp_path / "radar.nc", radar_frames())
    out = tmp_path / "made" / "forecast.nc"
    done = invoke("--checkpoint", run, "--input", source, "--out", out)
    assert "3 members, 2 lead times to 20 minutes after 2020-06-01 12:20 UTC" in done.output
    with xr.open_dataset(out, decode_coords="all", decode_timedelta=False) as found:
        xr.testing.assert_allclose(found["vil"], forecast["vil"], atol=1e-6)
        assert found["vil"].encoding["grid_mapping"] == "crs"
        assert found.attrs["input"] == source.name
        assert found["time"].values[0] == START + np.timedelta64(30, "m")
    ensemble, attributes = read_forecast(out)
    assert ensemble.shape == (3, 2, 16, 16)
    assert attributes["run"] == "small"


def test_the_command_takes_the_newest_frames_and_its_own_settings(run, tmp_path):
    radar_file(tmp_path / "radar.nc", radar_frames(6))
    out = tmp_path / "out" / "f.zarr"
    words = ["--members", 2, "--solver", "ddim", "--steps", 3, "--out", out]
    invoke("--checkpoint", run, "--latest", tmp_path, *words)
    with xr.open_zarr(out, decode_timedelta=False) as found:
        assert found.sizes["realization"] == 2
        assert (found.attrs["solver"], found.attrs["solver_steps"]) == ("ddim", 3)
        assert found["forecast_reference_time"] == START + np.timedelta64(50, "m")


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_a_written_forecast_replaces_an_older_one_whole(forecast, tmp_path, suffix):
    out = tmp_path / "made" / f"forecast{suffix}"
    for factor in (0.5, 1):
        write_dataset(out, factor * forecast)
    with xr.open_dataset(out, decode_timedelta=False) as found:
        xr.testing.assert_allclose(found["vil"], forecast["vil"])
    assert os.listdir(out.parent) == [out.name]
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        write_dataset(tmp_path / "file" / f"f{suffix}", forecast)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--input", "f.nc"], "--out is missing"),
        (["--input", "f.nc", "--out", "f.txt"], "written as .nc or .zarr"),
        (["--input", "f.nc", "--latest", ".", "--out", "f.nc"], "exclude each other"),
        (["--out", "f.nc"], "--out needs --input FILE or --latest FOLDER"),
        (["--input", "f.nc", "--out", "f.nc"], "no radar file at f.nc"),
        (["--input", "f.nc", "--data", ".", "--out", "f.nc"], "are for the forecasts of test"),
    ],
)
def test_commands_that_make_no_sense_are_refused(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        CliRunner().invoke(app, ["forecast", *words], catch_exceptions=False)


def test_the_configuration_hash_is_that_of_the_settings_not_of_the_file(run, forecast):
    from prediff.trained_networks import config_sha256

    config = load_config(run / "config.yaml")
    assert config_sha256(config) == forecast.attrs["config_sha256"]
    assert config_sha256(load_config(run / "config.yaml", ["seed=1"])) != config_sha256(config)
    json.dumps(dict(forecast.attrs))
