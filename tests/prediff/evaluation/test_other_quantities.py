"""Reflectivity and rain rate from data to report: trained, forecast and scored in dBZ and mm/h."""

import json

import numpy as np
import pytest
import xarray as xr
from radar_files import radar_frames
from typer.testing import CliRunner
from untrained_run import SETTINGS

from hpc.errors import UserError
from prediff.cli import app
from prediff.data.quantity import QUANTITIES, RAIN_RATE, REFLECTIVITY, RainRelation
from prediff.forecasting.forecaster import Forecaster
from prediff.verification.case import ScoredCase
from prediff.verification.contingency import ContingencyFamily
from prediff.verification.protocols import protocol_named

STEPS = (
    "train_autoencoder={duration: 1 steps, global_batch: 2, micro_batch: 2}",
    "train_diffusion={duration: 1 steps, global_batch: 2, micro_batch: 2}",
    "evaluate.baselines=[persistence]",
)


@pytest.fixture(scope="module", params=[REFLECTIVITY, RAIN_RATE], ids=lambda q: q.name)
def run(request, tmp_path_factory):
    """A run that learned one step of storms in dBZ, or in mm/h."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        words = [word for text in (*SETTINGS, *STEPS) for word in ("--set", text)]
        words += ["--set", f"data.quantity={request.param.name}"]
        CliRunner().invoke(app, ["run", "--name", "other", *words], catch_exceptions=False)
    return request.param, folder / "runs" / "other"


@pytest.mark.slow
def test_a_run_is_trained_forecast_and_scored_in_its_own_quantity(run):
    quantity, folder = run
    tables = json.loads((folder / "evaluation" / "scores.json").read_text())
    assert tables["protocol"]["quantity"] == quantity.name
    assert tables["protocol"]["thresholds"] == list(quantity.thresholds)
    path = next(iter(sorted((folder / "forecast").glob("*.nc"))))
    with xr.open_dataset(path) as forecast:
        values = forecast[quantity.name]
        assert values.attrs["units"] == quantity.units
        assert values.attrs["standard_name"] == quantity.standard_name
        code = forecast[quantity.code_name].values
        np.testing.assert_allclose(values, quantity.decode(code), rtol=1e-5)
    page = (folder / "evaluation" / "report.html").read_text()
    assert f"{quantity.thresholds[0]:g} {quantity.short_units}" in page


@pytest.mark.slow
def test_a_run_takes_reflectivity_for_rain_and_the_other_way_round_and_says_so(run):
    quantity, folder = run
    other = RAIN_RATE if quantity is REFLECTIVITY else REFLECTIVITY
    own = radar_frames(units=quantity.units)
    own.values[:] = quantity.decode(np.round(own.values / 3))
    converted = own.copy(data=own.values).assign_attrs(units=other.units)
    if other is RAIN_RATE:
        converted.values[:] = np.where(own <= 5, 0, RainRelation().to_rain(own.values))
    else:
        converted.values[:] = np.where(own > 0, RainRelation().to_reflectivity(own.values), 0)
    forecaster = Forecaster(folder)
    first, second = forecaster(own), forecaster(converted)
    assert "input_converted" not in first.attrs
    assert second.attrs["input_converted"] == f"{other.name} to {quantity.name} by Z = 200 R^1.6"
    np.testing.assert_allclose(second[quantity.code_name], first[quantity.code_name], atol=2)
    with pytest.raises(UserError, match="does not follow from the other"):
        forecaster(own.assign_attrs(units="kg m-2"))


@pytest.mark.parametrize("quantity", [REFLECTIVITY, RAIN_RATE], ids=lambda q: q.name)
def test_a_pixel_at_a_threshold_counts_and_one_code_below_does_not(quantity):
    family = ContingencyFamily(thresholds=quantity.thresholds, poolings=(1,))
    for number, threshold in enumerate(quantity.thresholds):
        code = int(np.ceil(quantity.encode(threshold) - 1e-9))
        for stored, hits in ((code, 1), (code - 1, 0)):
            seen = np.full((1, 1, 1), stored / np.float32(255), np.float32)
            sums = family.case_sums(ScoredCase(seen[None], seen, quantity))
            assert sums["contingency/ensemble_mean"][0, number, 0, 0] == hits


def test_published_protocols_are_of_vil_alone():
    for quantity in QUANTITIES.values():
        assert protocol_named("native", quantity=quantity).thresholds == quantity.thresholds
    with pytest.raises(UserError, match="scores vil, the run forecasts reflectivity"):
        protocol_named("prediff2023", quantity=REFLECTIVITY)
