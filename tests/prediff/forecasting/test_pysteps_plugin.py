"""PreDiff as pysteps sees it: a nowcast method and an importer, found through entry points."""

import numpy as np
import pytest
from radar_files import START, radar_file, radar_frames
from untrained_run import untrained_run

from hpc.errors import UserError
from prediff.forecasting.file import write_dataset
from prediff.forecasting.forecaster import Forecaster
from prediff.forecasting.pysteps_plugin import forecast, import_prediff_forecast


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return untrained_run(tmp_path_factory.mktemp("runs") / "small")[0].path


@pytest.fixture(scope="module")
def pysteps():
    return pytest.importorskip("pysteps", reason="pysteps is not installed (extra `baselines`)")


@pytest.fixture(scope="module")
def dataset(run):
    return Forecaster(run)(radar_frames())


def test_pysteps_calls_the_method_by_name(pysteps, run, dataset):
    nowcast = pysteps.nowcasts.get_method("prediff")
    frames = radar_frames()
    time = frames["time"].values[-1]
    ensemble = nowcast(frames.values, np.zeros((2, 16, 16)), 1, run=run, time=time)
    assert ensemble.shape == (3, 1, 16, 16)
    np.testing.assert_array_equal(ensemble, dataset["vil_code"].values[:, :1])


def test_the_method_keeps_missing_pixels_and_refuses_what_it_cannot_do(run):
    frames = np.ma.masked_equal(radar_frames().values, 0)
    frames[0, 1, 2] = np.ma.masked
    ensemble = forecast(frames, None, 2, run=run)
    assert np.isnan(ensemble[:, :, 1, 2]).all()
    for timesteps, message in ((3, "forecasts 2 frames"), (0, "takes a number"), ([5], "takes a")):
        with pytest.raises(UserError, match=message):
            forecast(frames, None, timesteps, run=run)


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_pysteps_opens_a_forecast_by_its_importer(pysteps, dataset, tmp_path, suffix):
    path = tmp_path / f"forecast{suffix}"
    write_dataset(path, dataset)
    importer = pysteps.io.get_method("prediff_forecast", "importer")
    ensemble, quality, metadata = importer(str(path), variable="vil")
    np.testing.assert_allclose(ensemble, dataset["vil"], rtol=1e-6)
    assert ensemble.dtype == np.float64
    assert quality is None
    assert (metadata["unit"], metadata["projection"]) == ("kg m-2", "+proj=laea")
    assert (metadata["x1"], metadata["x2"], metadata["xpixelsize"]) == (-500, 15500, 1000)
    assert metadata["yorigin"] == "lower"
    assert np.datetime64(metadata["timestamps"][0]) == START + np.timedelta64(30, "m")
    assert metadata["leadtimes"].tolist() == [10, 20]


def test_what_is_no_forecast_is_not_imported(tmp_path):
    file = radar_file(tmp_path / "radar.nc", radar_frames().rename("rain"))
    for path in (file, tmp_path / "absent.nc"):
        with pytest.raises(UserError, match="is no forecast that can be read"):
            import_prediff_forecast(path)
