import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from radar_trees import EXPECTED

from hpc.errors import UserError
from prediff.data.windows import (
    cut_windows,
    reference_event_order,
    reference_split_by_sequence,
    split_by_event,
    window_starts,
)


@pytest.mark.parametrize(
    ("frames", "length", "stride", "starts"),
    [
        (25, 13, 6, [0, 6, 12]),
        (49, 25, 12, [0, 12, 24]),
        (25, 25, 6, [0]),
        (25, 13, 7, [0, 7]),
        (25, 1, 1, list(range(25))),
    ],
)
def test_windows_start_every_stride_while_they_fit(frames, length, stride, starts):
    assert window_starts(frames=frames, length=length, stride=stride) == starts


def test_item_3e_plus_k_is_window_k_of_event_e():
    windows = cut_windows(events=4, frames=25, length=13, stride=6)
    assert len(windows) == 12
    for event in range(4):
        for k in range(3):
            assert windows[3 * event + k].tolist() == [event, 6 * k]


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 60))
def test_windows_lie_inside_the_event_and_leave_no_room_for_another(frames, length, stride):
    if length > frames:
        with pytest.raises(UserError, match="does not fit"):
            window_starts(frames=frames, length=length, stride=stride)
        return
    starts = window_starts(frames=frames, length=length, stride=stride)
    assert starts[0] == 0
    assert starts[-1] + length <= frames < starts[-1] + stride + length
    assert set(np.diff(starts)) <= {stride}


def test_reference_order_of_events_is_the_fixtures():
    ids = EXPECTED["train_noshuf/ids"]
    assert [ids[i] for i in reference_event_order(len(ids))] == EXPECTED["train/ids"]


def test_reference_split_by_sequence_is_the_fixtures():
    train, validation = reference_split_by_sequence(30, validation_fraction=0.1, seed=0)
    assert sorted(validation) == EXPECTED["random_split_30_seed0_val"]
    assert sorted([*train, *validation]) == list(range(30))


def test_reference_split_of_many_items_is_pytorchs():
    # random_split(range(5000), [0.9, 0.1], Generator().manual_seed(7)) of PyTorch 2.13
    train, validation = reference_split_by_sequence(5000, validation_fraction=0.1, seed=7)
    assert (len(train), len(validation)) == (4500, 500)
    assert train[:4].tolist() == [1615, 4214, 1149, 2766]
    assert validation[-4:].tolist() == [3243, 4559, 302, 3157]


@settings(deadline=None)
@given(
    st.lists(st.text(min_size=1, max_size=6), unique=True, min_size=2, max_size=40),
    st.floats(0.01, 0.99),
    st.integers(0, 5),
)
def test_split_by_event_gives_each_event_to_one_side_and_both_sides_some(ids, fraction, seed):
    train, validation = split_by_event(ids, validation_fraction=fraction, seed=seed)
    assert sorted(train + validation) == list(range(len(ids)))
    assert train
    assert validation
    assert len(validation) == np.clip(round(fraction * len(ids)), 1, len(ids) - 1)


@settings(deadline=None)
@given(st.permutations([f"R{i}" for i in range(12)]))
def test_split_by_event_does_not_depend_on_the_order_of_events(ids):
    _, validation = split_by_event(ids, validation_fraction=0.25, seed=0)
    _, sorted_validation = split_by_event(sorted(ids), validation_fraction=0.25, seed=0)
    assert {ids[i] for i in validation} == {sorted(ids)[i] for i in sorted_validation}


def test_split_by_event_depends_on_the_seed():
    ids = [f"R{i}" for i in range(50)]
    splits = {tuple(split_by_event(ids, validation_fraction=0.2, seed=s)[1]) for s in range(4)}
    assert len(splits) == 4


def test_no_validation_leaves_every_event_for_training():
    assert split_by_event(["a", "b"], validation_fraction=0, seed=0) == ([0, 1], [])
