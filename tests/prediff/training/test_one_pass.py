"""The one-pass network: what it starts as, what it costs, how it trains and forecasts."""

import mindspore as ms
import numpy as np
import pytest

from hpc.checkpoint.format import read_checkpoint
from hpc.cluster.runtime import ALONE
from hpc.cluster.stop import StopRequest
from hpc.errors import UserError
from hpc.train.without_dropout import without_dropout
from prediff.config import load_config, save_config
from prediff.data.extrapolation import extrapolate
from prediff.data.open_data import make_synthetic_data, open_split
from prediff.forecasting.one_pass import DRY_BELOW, OnePassForecaster, forecaster_of_run
from prediff.models import build_one_pass
from prediff.models.one_pass_cost import one_pass_cost
from prediff.profiler.counted import count_products
from prediff.run_folder import RunFolder
from prediff.trained_networks import newest_checkpoint
from prediff.training.loop import train
from prediff.training.one_pass import RunWindows, batches_of
from prediff.training.task import ONE_PASS

SETTINGS = (
    "diffusion.objective=crps",
    "data={frame_size: 16, synthetic: {train_events: 6, test_events: 4}}",
    "one_pass={widths: [8, 16], noise_channels: 2}",
    "train_diffusion={duration: 2 steps, global_batch: 4, micro_batch: 2}",
    "train_diffusion.augmentation=flips_and_quarter_turns",
    "forecast={ensemble_members: 5, batch: 2}",
)


@pytest.fixture(scope="module")
def config():
    return load_config(None, SETTINGS)


@pytest.fixture(scope="module")
def run(tmp_path_factory, config):
    """A run whose network made two steps of two micro-batches."""
    folder = RunFolder(tmp_path_factory.mktemp("runs") / "one")
    folder.path.mkdir()
    save_config(config, folder.config)
    make_synthetic_data(folder, config)
    with StopRequest(stop_file=folder.stop_file, max_seconds=None, leads=True) as stop:
        train(ONE_PASS, folder, config, ALONE, stop=stop)
    return folder


def windows_of(run, config, split="train"):
    return RunWindows(open_split(run, config, split))


@pytest.mark.slow
def test_an_untrained_network_is_the_extrapolation(run, config):
    window, _ = windows_of(run, config).read_frames_of(np.array([0]))
    context = window[0, : config.data.context_frames]
    forecaster = OnePassForecaster(build_one_pass(config), config, cadence_minutes=10)
    made = forecaster(context[..., None], case_number=3)
    expected = extrapolate(context_THW=context, forecast_frames=config.data.forecast_frames)
    expected = np.where(expected < DRY_BELOW, 0, expected)
    np.testing.assert_allclose(made, np.broadcast_to(expected, made.shape), atol=1e-6)


@pytest.mark.slow
def test_training_leaves_a_checkpoint_with_its_scores(run, config):
    state = read_checkpoint(newest_checkpoint(run, "diffusion")).state
    assert state["samples_seen"] == 8
    assert {"loss", "crps", "spread", "crps_ema"} <= set(state["scores"])


@pytest.mark.slow
def test_each_member_costs_one_call_and_depends_on_its_number_alone(run, config):
    forecaster = forecaster_of_run(run, config)
    network, rows = forecaster._network, []

    def counted(*inputs):
        rows.append(inputs[3].shape[1])
        return network(*inputs)

    counted.noise_numbers, counted.noise_factors = network.noise_numbers, network.noise_factors
    forecaster._network = counted
    context = windows_of(run, config, "test").read_frames_of(np.array([1]))[0][0, :7, ..., None]
    made = forecaster(context, case_number=7)
    assert rows == [2, 2, 2]  # five members in batches of two, the last filled up
    assert made.shape == (5, 6, 16, 16)
    assert made.min() >= 0
    assert made.max() <= 1
    assert len({member.tobytes() for member in made}) == 5
    fewer = load_config(None, [*SETTINGS, "forecast={ensemble_members: 3, batch: 2}"])
    np.testing.assert_array_equal(forecaster_of_run(run, fewer)(context, case_number=7), made[:3])
    assert (forecaster(context, case_number=8) != made).any()


def test_samples_of_a_batch_do_not_depend_on_the_batch(run, config):
    batches = batches_of(windows_of(run, config), config, training=True)
    whole = batches(np.array([0, 3]), np.array([40, 41]), 5)
    alone = batches(np.array([3]), np.array([41]), 5)
    for both, one in zip(whole, alone, strict=True):
        np.testing.assert_array_equal(both[1:], one)
    again = batches(np.array([3]), np.array([45]), 6)
    assert any((one != other).any() for one, other in zip(alone[:2], again[:2], strict=True))


@pytest.mark.slow
def test_cost_by_formula_is_what_the_network_does(config):
    network = build_one_pass(config)
    side, members = config.data.frame_size, 3
    numbers = network.noise_numbers(height=side, width=side)
    inputs = [
        ms.Tensor(np.zeros(shape, np.float32))
        for shape in ((1, 7, side, side), (1, 6, side, side), (1,), (1, members, numbers))
    ]
    with without_dropout(network):
        products = count_products(network, lambda: network(*inputs))
    assert one_pass_cost(config, members=members).operations == pytest.approx(
        sum(product.operations for product in products)
    )


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ("data.frame_size=18", "not a multiple of 4"),
        ("parallel.pipeline=2", "without a pipeline"),
        ("forecast.guidance.source=persistence", "no noise steps to guide"),
        ("one_pass.conditions=[extrapolation]", "must name context"),
        ("one_pass.widths=[]", "at least 1"),
    ],
)
def test_settings_that_cannot_work_are_refused(setting, line):
    with pytest.raises(UserError, match=line):
        load_config(None, [*SETTINGS, "autoencoder.widths=[8]", setting])


def test_widths_that_do_not_divide_into_groups_are_refused():
    with pytest.raises(UserError, match="divide into 8 groups"):
        build_one_pass(load_config(None, [*SETTINGS, "one_pass.widths=[8, 12]"]))


def test_forecast_noise_has_one_factor_per_level(config):
    network = build_one_pass(config)
    size = {"height": 16, "width": 16}
    factors = network.noise_factors([0.5, 2.0], **size)
    assert len(factors) == network.noise_numbers(**size)
    fine, coarse = 8 * 8 * 2, 4 * 4 * 2
    assert [int((factors == value).sum()) for value in (0.5, 2.0)] == [fine, coarse]
    np.testing.assert_array_equal(factors[-fine:], 0.5)
    np.testing.assert_array_equal(network.noise_factors([], **size), 1)
    with pytest.raises(UserError, match="3 factors, the network 2 levels"):
        network.noise_factors([1, 1, 1], **size)
