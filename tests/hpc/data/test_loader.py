import gc
import threading
import time
import weakref

import numpy as np
import pytest

from hpc.data.loader import PrefetchLoader


def test_batches_come_in_order_from_start_to_stop():
    with PrefetchLoader(lambda b: b * 10, start=3, stop=7) as loader:
        assert list(loader) == [30, 40, 50, 60]
        assert list(loader) == []


def test_an_error_comes_where_its_batch_would_have_come():
    def produce(number):
        if number == 2:
            raise OSError("the disk is gone")
        return number

    loader = PrefetchLoader(produce, start=0, stop=None)
    assert [next(loader), next(loader)] == [0, 1]
    with pytest.raises(OSError, match="the disk is gone"):
        next(loader)
    with pytest.raises(StopIteration):
        next(loader)


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_closing_early_ends_the_thread(taken):
    before = threading.active_count()
    loader = PrefetchLoader(lambda b: b, start=0, stop=None, depth=2)
    for _ in range(taken):
        next(loader)
    loader.close()
    loader.close()
    assert threading.active_count() == before


def test_only_a_few_batches_are_made_ahead():
    made = []
    with PrefetchLoader(lambda b: made.append(b), start=0, stop=None, depth=2) as loader:
        next(loader)
        deadline = time.monotonic() + 10
        while len(made) < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.2)
        assert len(made) == 4


def test_a_batch_that_was_handed_out_is_not_kept():
    with PrefetchLoader(lambda b: np.zeros(10), start=0, stop=1) as loader:
        batch = weakref.ref(next(loader))
        gc.collect()
        assert batch() is None


def test_waiting_is_measured_and_hidden_by_work():
    def produce(number):
        time.sleep(0.05)
        return number

    with PrefetchLoader(produce, start=0, stop=None) as loader:
        next(loader)
        first = loader.wait_seconds
        assert first > 0.03
        for _ in range(3):
            time.sleep(0.3)
            next(loader)
        assert loader.wait_seconds - first < 0.1
