import numpy as np
import pytest

from hpc.errors import UserError
from prediff.diffusion import REFERENCE_FACTOR, TARGET_SOURCES, frame_intensity, target_intensity


def _frames(means: list[float]) -> np.ndarray:
    """Frames of these means: half the pixels at 0, half at twice the mean. [1, T, 4, 4, 1]"""
    frames = np.zeros((1, len(means), 4, 4, 1), np.float32)
    frames[:, :, ::2] = 2 * np.array(means, np.float32).reshape(1, -1, 1, 1, 1)
    return frames


def _target(source: str, **changes) -> float:
    arguments = {"lead_frames": 3, "context": _frames([0.1, 0.2, 0.3])}
    return float(target_intensity(source=source, **arguments | changes)[0])


def test_each_source_measures_what_its_name_says():
    assert _target("oracle", future=_frames([0.1, 0.2, 0.45])) == pytest.approx(0.25)
    assert _target("persistence") == pytest.approx(0.2)
    assert _target("trend") == pytest.approx(0.5)
    assert _target("climatology", value=0.07) == pytest.approx(0.07)
    assert _target("number", value=0.12) == pytest.approx(0.12)


def test_the_published_demonstration_asks_for_twice_the_future():
    wanted = _target("oracle", future=_frames([0.1, 0.2, 0.3]), factor=REFERENCE_FACTOR)
    assert wanted == pytest.approx(0.4)


def test_twenty_percent_more_rain_can_be_asked_for():
    assert _target("persistence", factor=1.2) == pytest.approx(0.24)


def test_a_trend_is_cut_where_intensity_ends():
    assert _target("trend", context=_frames([0.3, 0.15, 0.0])) == pytest.approx(0.0)
    assert _target("trend", context=_frames([0.1, 0.3, 0.5])) == pytest.approx((0.7 + 0.9 + 1) / 3)


def test_one_known_frame_is_persisted_by_the_trend():
    context = _frames([0.1, 0.2, 0.3])
    context[:, :2] = np.nan
    assert _target("trend", context=context) == pytest.approx(0.3)


def test_missing_pixels_and_frames_are_left_out():
    frames = _frames([0.1, 0.2, 0.4])
    frames[:, 0, 0] = np.nan
    frames[:, 2] = np.nan
    measured = frame_intensity(frames)
    assert measured.shape == (1, 3, 1)
    assert measured[0, 0, 0] == pytest.approx(0.2 * 4 / 12)
    assert np.isnan(measured[0, 2, 0])
    assert _target("persistence", context=frames) == pytest.approx((0.2 / 3 + 0.2) / 2)


def test_every_sample_has_its_own_target():
    context = np.concatenate([_frames([0.1, 0.1]), _frames([0.3, 0.3])])
    wanted = target_intensity(source="persistence", lead_frames=3, context=context)
    assert wanted.dtype == np.float32
    np.testing.assert_allclose(wanted, [0.1, 0.3], rtol=1e-6)


@pytest.mark.parametrize(
    ("source", "changes", "words"),
    [
        ("prophet", {}, f"choose one of {', '.join(TARGET_SOURCES)}"),
        ("oracle", {}, "needs the true future"),
        ("persistence", {"future": _frames([0.1])}, "no use for the true future"),
        ("number", {}, "needs a mean value"),
        ("trend", {"value": 0.1}, "no use for a mean value"),
        ("number", {"value": 40.0}, "must be within 0 and 1"),
        ("climatology", {"value": 0.9, "factor": 1.2}, "must be within 0 and 1"),
        ("persistence", {"context": np.full((1, 2, 4, 4, 1), np.nan)}, "no valid pixel"),
    ],
)
def test_a_target_that_cannot_be_is_refused_in_one_line(source, changes, words):
    with pytest.raises(UserError, match=words) as error:
        _target(source, **changes)
    assert "\n" not in str(error.value)
