import numpy as np
import pytest
from scipy.ndimage import rotate as scipy_rotate

from hpc.errors import UserError
from prediff.data.augmentation import DIHEDRAL_VARIANTS, augment, dihedral, rotate


@pytest.fixture
def batch():
    return np.random.default_rng(0).random((64, 3, 8, 8, 1), np.float32)


def test_the_eight_variants_are_the_symmetries_of_the_square(batch):
    frame = batch[0, :1]
    variants = {dihedral(frame, variant=v).tobytes() for v in DIHEDRAL_VARIANTS}
    assert len(variants) == 8
    # Any flips and turns of the reference's augmentation are among them.
    for horizontal in (False, True):
        for vertical in (False, True):
            for turns in range(4):
                image = frame[:, :, ::-1] if horizontal else frame
                image = image[:, ::-1] if vertical else image
                assert np.rot90(image, turns, axes=(1, 2)).tobytes() in variants


def test_variant_0_changes_nothing_and_1_is_a_quarter_turn(batch):
    np.testing.assert_array_equal(dihedral(batch, variant=0), batch)
    np.testing.assert_array_equal(dihedral(batch, variant=1), np.rot90(batch, 1, axes=(2, 3)))
    np.testing.assert_array_equal(dihedral(batch, variant=4), batch[..., ::-1, :])


def test_mode_0_returns_the_batch_as_it_is(batch):
    assert augment(batch, mode=0, seed=1, samples=range(64)) is batch


@pytest.mark.parametrize("mode", [1, 2])
def test_a_draw_belongs_to_seed_sample_and_step_not_to_the_place_in_the_batch(batch, mode):
    samples = np.arange(100, 164)
    together = augment(batch, mode=mode, seed=7, samples=samples, step=5)
    order = np.random.default_rng(1).permutation(64)
    apart = [
        augment(batch[i : i + 1], mode=mode, seed=7, samples=samples[i : i + 1], step=5)
        for i in order
    ]
    np.testing.assert_array_equal(np.concatenate(apart), together[order])
    for other in ({"seed": 8, "step": 5}, {"seed": 7, "step": 6}):
        assert (augment(batch, mode=mode, samples=samples, **other) != together).any()


@pytest.mark.parametrize("mode", [1, 2])
def test_all_frames_of_a_sequence_move_alike(batch, mode):
    still = np.repeat(batch[:, :1], 3, axis=1)
    moved = augment(still, mode=mode, seed=0, samples=range(64))
    np.testing.assert_array_equal(moved, np.repeat(moved[:, :1], 3, axis=1))
    assert (moved != still).any()


def test_mode_2_draws_every_symmetry_about_equally_often():
    image = np.arange(4.0).reshape(1, 2, 2, 1)
    drawn = augment(np.repeat(image, 800, axis=0), mode=2, seed=0, samples=range(800))
    _, counts = np.unique(drawn.reshape(800, 4), axis=0, return_counts=True)
    assert len(counts) == 8
    assert counts.min() > 60
    assert counts.max() < 140


def test_mode_2_needs_square_frames_whatever_it_draws():
    with pytest.raises(UserError, match="square frames, these are 8x6"):
        augment(np.zeros((1, 3, 8, 6, 1)), mode=2, seed=0, samples=[0])


def test_mode_1_accepts_frames_that_are_not_square():
    assert augment(np.ones((2, 8, 6, 1)), mode=1, seed=0, samples=[0, 1]).shape == (2, 8, 6, 1)


@pytest.mark.parametrize("quarter", range(-2, 3))
def test_rotation_by_quarter_turns_is_exact(batch, quarter):
    expected = np.rot90(batch, quarter, axes=(2, 3))
    np.testing.assert_array_equal(rotate(batch, degrees=90 * quarter), expected)


@pytest.mark.parametrize("degrees", [-137.3, -20.1, 33.7, 71.9])
def test_rotation_agrees_with_scipys_nearest_neighbour(degrees):
    frames = np.random.default_rng(2).random((2, 33, 20, 1)) + 1
    expected = scipy_rotate(frames, degrees, axes=(2, 1), reshape=False, order=0, cval=0)
    ours = rotate(frames, degrees=degrees)
    # scipy drops what lies within half a pixel of the border: it has more zeros, never fewer.
    inside = expected > 0
    assert inside.mean() > 0.5
    np.testing.assert_array_equal(ours[inside], expected[inside])


def test_rotation_fills_what_comes_from_outside_with_zero():
    turned = rotate(np.ones((1, 9, 9, 1), np.float32), degrees=45)
    assert turned.dtype == np.float32
    assert turned[0, 0, 0, 0] == 0
    assert turned[0, 4, 4, 0] == 1


def test_mode_1_mirrors_about_half_of_the_samples_and_turns_by_any_angle():
    # A long and a short arm: their lengths survive rotation, their sense of turn shows a mirror.
    image = np.zeros((1, 65, 65, 1))
    image[:, 32, 33:60] = 1
    image[:, 20:32, 32] = 2
    drawn = augment(np.repeat(image, 200, axis=0), mode=1, seed=3, samples=range(200))
    angles, turns = [], []
    for frame in drawn[..., 0]:
        long, short = (np.argwhere(frame == value).mean(axis=0) - 32 for value in (1, 2))
        angles.append(np.arctan2(-long[0], long[1]))
        turns.append(np.sign(long[1] * short[0] - long[0] * short[1]))
    assert 70 < turns.count(1) < 130
    for side in (-1, 1):
        of_side = np.array(angles)[np.array(turns) == side]
        assert np.histogram(of_side, bins=4, range=(-np.pi, np.pi))[0].min() > 10
