import numpy as np
import pytest
from scipy.linalg import expm
from scipy.ndimage import map_coordinates

from hpc.randomness import keyed_generator
from prediff.data import storms
from prediff.data.storms import DOMAIN_KM, FRAME_MINUTES, Flow, storm_event
from prediff.data.texture import RenewingTexture

SIZE = 32


def make_event(number, size=SIZE, frames=25):
    generator = keyed_generator(seed=0, stream="test_storms", sample=number)
    return storm_event(generator, size=size, frames=frames)


@pytest.fixture(scope="module")
def events_and_flows():
    """60 events [E, T, H, W] with the flow that carried each."""
    flows = []
    draw = storms._draw_flow
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storms, "_draw_flow", lambda g: flows.append(draw(g)) or flows[-1])
        events = np.stack([make_event(number) for number in range(60)])
    return events.astype(np.float32), flows


def follow(frame, flow, minutes):
    """The frame as the flow would carry it."""
    pixel = DOMAIN_KM / SIZE
    axis = (np.arange(SIZE) + 0.5) * pixel - DOMAIN_KM / 2
    points = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1)
    origin = (flow.carry(points, -minutes) + DOMAIN_KM / 2) / pixel - 0.5
    return map_coordinates(frame, np.moveaxis(origin, -1, 0), order=1, mode="nearest")


def test_the_flow_carries_points_as_its_exponential_does():
    generator = np.random.default_rng(0)
    for _ in range(20):
        flow = storms._draw_flow(generator)
        matrix = np.zeros((3, 3))
        matrix[:2, :2], matrix[:2, 2] = flow.gradient, flow.steering
        points = generator.uniform(-300, 300, (5, 2))
        minutes = generator.uniform(-250, 250, 5)
        for point, time, ours in zip(points, minutes, flow.carry(points, minutes), strict=True):
            exact = expm(matrix * time) @ [*point, 1]
            np.testing.assert_allclose(ours, exact[:2], atol=0.01)


def test_the_flow_gathers_nothing_and_turns_back_to_where_it_began():
    flow = Flow(steering=np.array([0.3, -0.7]), gradient=np.array([[2e-4, 9e-4], [-8e-4, -2e-4]]))
    points = np.array([[10.0, 20.0], [-150.0, 90.0]])
    np.testing.assert_allclose(flow.carry(flow.carry(points, 90.0), -90.0), points, atol=1e-3)


def test_events_are_bytes_of_the_asked_shape_and_the_generators_state_decides_them():
    event = make_event(5, size=24, frames=7)
    assert event.shape == (7, 24, 24)
    assert event.dtype == np.uint8
    assert event.max() < 255  # which means missing in SEVIR
    np.testing.assert_array_equal(event, make_event(5, size=24, frames=7))
    assert (event != make_event(6, size=24, frames=7)).any()


def test_values_are_distributed_like_sevirs(events_and_flows):
    vil, _ = events_and_flows
    assert 20 < vil.mean() < 45  # SEVIR: 33.4
    assert 35 < vil.std() < 55  # SEVIR: 47.5
    assert 0.75 < (vil < 74).mean() < 0.95
    assert 0.008 < (vil >= 160).mean() < 0.05
    assert 0.0005 < (vil >= 219).mean() < 0.015
    assert (vil[(vil > 0)] >= 6).all()


def test_no_event_is_empty_and_most_have_strong_cores(events_and_flows):
    vil, _ = events_and_flows
    assert (vil.mean(axis=(1, 2, 3)) > 2).all()
    assert (vil.max(axis=(1, 2, 3)) > 160).mean() > 0.8


def test_following_the_flow_beats_persistence_clearly_at_every_lead_time(events_and_flows):
    vil, flows = events_and_flows
    for lead in (1, 3, 6):
        persistence = followed = 0.0
        for event, flow in zip(vil, flows, strict=True):
            truth = event[12 + lead]
            persistence += ((truth - event[12]) ** 2).mean()
            carried = follow(event[12], flow, lead * FRAME_MINUTES)
            followed += ((truth - carried) ** 2).mean()
        assert followed < 0.6 * persistence


def test_storms_grow_and_decay_along_the_flow(events_and_flows):
    vil, _ = events_and_flows
    rain = vil.mean(axis=(2, 3))
    change = np.log((rain[:, 18] + 1) / (rain[:, 6] + 1))
    assert (change > 0.2).sum() > 6
    assert (change < -0.2).sum() > 6


def test_successive_frames_resemble_each_other_less_and_less(events_and_flows):
    vil, _ = events_and_flows
    wet = vil.reshape(len(vil), 25, -1)

    def correlation(lead):
        return np.mean([np.corrcoef(e[9], e[9 + lead])[0, 1] for e in wet])

    assert correlation(1) > 0.85
    assert correlation(1) > correlation(3) > correlation(6) > 0.1


def test_the_same_weather_is_drawn_at_any_resolution():
    coarse = np.stack([make_event(n, size=32, frames=3) for n in range(12)])
    fine = np.stack([make_event(n, size=64, frames=3) for n in range(12)])
    means = coarse.mean(axis=(1, 2, 3)), fine.mean(axis=(1, 2, 3))
    assert np.corrcoef(*means)[0, 1] > 0.9


def make_texture(**options):
    defaults = {"size": 32, "pixel_km": 6.0, "minutes": 10.0, "slope": 3.0}
    return RenewingTexture(np.random.default_rng(0), **(defaults | options))


def grid(texture_size=32, pixel_km=6.0):
    axis = np.arange(-texture_size, texture_size) * pixel_km
    return np.stack(np.meshgrid(axis, axis, indexing="ij"), -1)


def test_a_texture_has_mean_0_and_variance_1_and_repeats_after_two_domains():
    texture, points = make_texture(), grid()
    field = texture.sample(points)
    assert abs(field.mean()) < 1e-6
    np.testing.assert_allclose(texture.sample(points + 2 * 32 * 6.0), field, atol=1e-6)
    variances = []
    for seed in range(40):
        texture = RenewingTexture(
            np.random.default_rng(seed), size=32, pixel_km=6.0, minutes=10.0, slope=3.0
        )
        variances.append(texture.sample(points).var())
    assert np.mean(variances) == pytest.approx(1, abs=0.1)


def test_small_scales_of_a_texture_are_renewed_first():
    texture, points = make_texture(), grid()
    before = np.fft.fft2(texture.sample(points))
    for _ in range(6):
        texture.advance()
    after = np.fft.fft2(texture.sample(points))
    wavenumber = np.hypot(*np.meshgrid(*[np.fft.fftfreq(64) * 64] * 2))

    def coherence(low, high):
        ring = (wavenumber >= low) & (wavenumber < high)
        power = np.sqrt((np.abs(before[ring]) ** 2).sum() * (np.abs(after[ring]) ** 2).sum())
        return (before[ring] * after[ring].conj()).sum().real / power

    assert coherence(2, 5) > 0.6
    assert coherence(2, 5) > coherence(6, 10) > coherence(14, 20)
