"""Named protocols: what they are, what they refuse; baselines; significance."""

import builtins

import numpy as np
import pytest
from verification_oracles import storms

from hpc.errors import UserError
from prediff.verification import PROTOCOLS, check_comparable, protocol_named
from prediff.verification.baselines import climatology, extrapolation, persistence, steps
from prediff.verification.published import PUBLISHED, published_for
from prediff.verification.significance import bootstrap_weights, paired_comparison
from prediff.verification.sums import EventSums, exactly_summable


@pytest.mark.parametrize(
    ("name", "frames", "size", "cadence"),
    [
        ("prediff2023", (7, 6), 128, 10),
        ("cascast384", (13, 12), 384, 5),
        ("diffcast128", (5, 20), 128, 5),
    ],
)
def test_a_protocol_takes_its_data_and_refuses_any_other(name, frames, size, cadence):
    protocol = protocol_named(name)
    data = {
        "context_frames": frames[0],
        "forecast_frames": frames[1],
        "height": size,
        "width": size,
        "cadence_minutes": cadence,
    }
    protocol.check_data(**data, first_time="2019-10-02 00:00")
    for key in data:
        with pytest.raises(UserError, match=f"'{name}' needs {key}"):
            protocol.check_data(**(data | {key: data[key] + 1}))
    with pytest.raises(UserError, match="tests from 2019-"):
        protocol.check_data(**data, first_time="2017-05-09 10:00")


def test_the_native_protocol_takes_any_data():
    PROTOCOLS["native"].check_data(
        context_frames=4, forecast_frames=3, height=32, width=48, cadence_minutes=5
    )


def test_an_unknown_protocol_names_the_nearest():
    with pytest.raises(UserError, match="did you mean 'cascast384'"):
        protocol_named("cascast")


def test_only_equal_protocols_are_comparable():
    check_comparable("native", "native")
    with pytest.raises(UserError, match="one protocol"):
        check_comparable("prediff2023", "cascast384")


def test_every_protocol_names_its_source_and_published_rows_belong_to_one():
    assert all(protocol.source for protocol in PROTOCOLS.values())
    assert {row.protocol for row in PUBLISHED} == set(PROTOCOLS) - {"native"}
    assert published_for(PROTOCOLS["native"]) == []
    for row in PUBLISHED:
        assert row.table
        assert all(0 < value < 1 for value in row.values.values())


def test_persistence_holds_the_last_frame_still():
    context = storms(1, (2, 3, 16, 16))
    forecast = persistence(context=context, forecast_frames=4)
    assert forecast.shape == (2, 1, 4, 16, 16)
    np.testing.assert_array_equal(forecast, np.broadcast_to(context[:, None, -1:], forecast.shape))


def test_climatology_draws_by_the_number_of_the_case_alone():
    library = storms(2, (9, 5, 8, 8))
    options = {"library": library, "members": 4, "forecast_frames": 3, "seed": 1}
    whole = climatology(cases=np.array([5, 6, 7]), **options)
    np.testing.assert_array_equal(climatology(cases=np.array([6]), **options)[0], whole[1])
    assert whole.shape == (3, 4, 3, 8, 8)
    assert (whole[0] != whole[1]).any()
    with pytest.raises(UserError, match="ask for fewer members"):
        climatology(cases=np.array([0]), **(options | {"members": 10}))


def test_steps_says_what_to_install_when_pysteps_is_absent(monkeypatch):
    real = builtins.__import__

    def without_pysteps(name, *args, **kwargs):
        if name.startswith("pysteps"):
            raise ImportError(f"No module named '{name}'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_pysteps)
    with pytest.raises(UserError, match="pip install 'pysteps"):
        steps(
            context=np.zeros((1, 4, 32, 32)),
            cases=np.array([0]),
            members=2,
            forecast_frames=2,
            cadence_minutes=5,
            kilometres_per_pixel=1,
            seed=0,
        )


def moving_storm():
    """One smooth field that moves two pixels right a frame, 8 frames, periodic."""
    field = storms(5, (1, 64, 64))[0]
    return np.stack([np.roll(field, 2 * frame, axis=1) for frame in range(8)])[None]


def test_extrapolation_and_steps_move_the_rain_along():
    pytest.importorskip("pysteps")
    frames = moving_storm()
    context, truth = frames[:, :4], frames[:, 4:]
    still = persistence(context=context, forecast_frames=4)
    moved = extrapolation(context=context, forecast_frames=4)
    inside = (..., slice(8, 56), slice(16, 56))
    error = [np.abs(forecast[:, 0] - truth)[inside].mean() for forecast in (moved, still)]
    assert error[0] < 0.35 * error[1]
    options = {
        "context": context,
        "members": 2,
        "forecast_frames": 4,
        "cadence_minutes": 5,
        "kilometres_per_pixel": 1,
        "seed": 3,
    }
    ensemble = steps(cases=np.array([8]), **options)
    assert ensemble.shape == (1, 2, 4, 64, 64)
    assert (ensemble[:, 0] != ensemble[:, 1]).any()
    np.testing.assert_array_equal(ensemble, steps(cases=np.array([8]), **options))
    dry = np.zeros_like(context)
    assert extrapolation(context=dry, forecast_frames=2).max() == 0
    assert steps(cases=np.array([8]), **(options | {"context": dry})).max() == 0


def test_rounded_sums_add_up_exactly_in_any_order():
    values = exactly_summable(np.random.RandomState(0).rand(1000) * 1e4)
    shuffled = np.random.RandomState(1).permutation(values)
    assert sum(values) == sum(shuffled) == values.sum() == shuffled.reshape(10, 100).sum(1).sum()


class MeanFamily:
    """The simplest family: one number a case, its mean over cases."""

    name = "mean"

    def scores(self, sums):
        from prediff.verification.score import Score

        total = sums["mean"][..., 0] / sums["mean"][..., 1]
        return [Score("mean", "ensemble_mean", {}, total, total[..., None])]


def stores_of(*columns):
    stores = []
    for column in columns:
        store = EventSums()
        for number, value in enumerate(column):
            store.add(event=f"{number:03}", case=str(number), sums={"mean": np.array([value, 1.0])})
        stores.append(store)
    return stores


def test_the_paired_test_finds_a_small_difference_under_large_shared_noise():
    generator = np.random.RandomState(2)
    hard = 10 * generator.rand(60)
    first, second = stores_of(
        hard + 0.1 * generator.rand(60), hard + 0.1 * generator.rand(60) + 0.1
    )
    (result,) = paired_comparison(first=first, second=second, family=MeanFamily())
    assert result.p_value == pytest.approx(1 / 1001)
    assert -0.13 < result.low < result.difference < result.high < -0.07


def test_p_values_are_uniform_when_there_is_no_difference():
    generator = np.random.RandomState(3)
    p_values = [
        float(
            paired_comparison(
                first=first, second=second, family=MeanFamily(), replicates=199, seed=seed
            )[0].p_value
        )
        for seed in range(150)
        for first, second in [stores_of(generator.rand(25), generator.rand(25))]
    ]
    assert np.mean(p_values) == pytest.approx(0.5, abs=0.08)
    assert np.mean(np.array(p_values) <= 0.1) == pytest.approx(0.1, abs=0.07)


def test_bootstrap_weights_are_keyed_and_draw_as_many_events_as_there_are():
    weights = bootstrap_weights(events=7, replicates=20, seed=1)
    assert (weights.sum(axis=1) == 7).all()
    np.testing.assert_array_equal(weights, bootstrap_weights(events=7, replicates=20, seed=1))
    assert (weights != bootstrap_weights(events=7, replicates=20, seed=2)).any()


def test_one_event_cannot_be_compared():
    first, second = stores_of([1.0], [2.0])
    with pytest.raises(UserError, match="at least two events"):
        paired_comparison(first=first, second=second, family=MeanFamily())
