import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpc.data.order import SampleOrder, order
from hpc.errors import UserError


def test_the_order_is_pinned_so_that_an_update_cannot_change_running_experiments():
    assert order(num_samples=8, seed=0, epoch=0).tolist() == [4, 7, 0, 5, 2, 3, 6, 1]
    assert order(num_samples=8, seed=0, epoch=1).tolist() == [0, 5, 2, 7, 3, 1, 6, 4]


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = [order(num_samples=50, seed=s, epoch=e).tolist() for s in (0, 1) for e in (0, 1)]
    assert len({tuple(o) for o in orders}) == 4


@given(
    num_samples=st.integers(1, 40),
    global_batch=st.integers(1, 60),
    seed=st.integers(0, 2**31),
)
def test_every_epoch_visits_every_sample_once(num_samples, global_batch, seed):
    samples = SampleOrder(num_samples=num_samples, global_batch=global_batch, seed=seed)
    batches = -(-3 * num_samples // global_batch)
    visited = np.concatenate([samples.batch(b) for b in range(batches)])[: 3 * num_samples]
    for epoch in visited.reshape(3, num_samples):
        assert sorted(epoch) == list(range(num_samples))


@given(batch=st.integers(0, 1000), data_size=st.sampled_from([1, 2, 3, 4, 6, 12]))
def test_the_ranks_parts_make_up_the_batch_for_any_number_of_ranks(batch, data_size):
    samples = SampleOrder(num_samples=29, global_batch=12, seed=5)
    parts = [samples.rank_slice(batch, data_rank=r, data_size=data_size) for r in range(data_size)]
    np.testing.assert_array_equal(np.concatenate(parts), samples.batch(batch))


@given(batch=st.integers(0, 1000), data_size=st.sampled_from([1, 2, 3, 4, 6, 12]))
def test_a_sample_has_the_same_number_on_any_number_of_ranks(batch, data_size):
    samples = SampleOrder(num_samples=29, global_batch=12, seed=5)
    parts = [samples.rank_batch(batch, data_rank=r, data_size=data_size) for r in range(data_size)]
    numbers = np.concatenate([numbers for _, numbers in parts])
    np.testing.assert_array_equal(numbers, 12 * batch + np.arange(12))


def test_a_position_is_the_number_of_samples_seen():
    samples = SampleOrder(num_samples=10, global_batch=4, seed=0)
    assert samples.batch_at(0) == 0
    assert samples.batch_at(12) == 3
    assert samples.epoch(5) == 2.0
    with pytest.raises(UserError, match="13 samples seen are no multiple of a global batch of 4"):
        samples.batch_at(13)


def test_no_samples_are_refused():
    with pytest.raises(UserError, match="no training samples"):
        SampleOrder(num_samples=0, global_batch=4, seed=0)
    with pytest.raises(UserError, match="batch of 0"):
        SampleOrder(num_samples=4, global_batch=0, seed=0)
