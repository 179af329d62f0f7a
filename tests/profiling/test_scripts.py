"""The scripts' arithmetic, and their links measured on slow ones."""

import time

import mindspore as ms
import numpy as np
import pytest

from prediff.profiler.counted import Product
from prediff.profiler.record import PARTS, Peaks, RankProfile, Report, StepTimes
from profiling.data_path import measure_links, slowest
from profiling.roofline import by_kind, least_seconds
from profiling.scaling import scaling
from profiling.timing import ratio_of

ms.set_context(mode=ms.GRAPH_MODE)


def report(ranks: int, *, samples: int, **parts: float) -> Report:
    times = StepTimes(**(dict.fromkeys(PARTS, 0.0) | parts))
    profiles = tuple(
        RankProfile(
            rank=rank,
            host="here",
            compile_seconds=1.0,
            step_seconds=(times.total,),
            steps=(times,),
            operators=(),
            resident_peak=1e9,
        )
        for rank in range(ranks)
    )
    return Report(
        name="x",
        stage="diffusion",
        made="now",
        inputs="made up",
        machine={"cores": "2", "threads a rank": "1"},
        samples=samples,
        operations=1e9,
        peaks=Peaks(name="device", operations=1e11, bandwidth=1e10),
        ranks=profiles,
        modules=(),
    )


def test_strong_scaling_names_the_part_that_does_not_shrink():
    one = report(1, samples=8, compute=1.0)
    two = report(2, samples=8, compute=0.5, communication=0.3)
    first, second = scaling([two, one])
    assert (first.ranks, first.efficiency, first.reason) == (1, 1.0, "")
    assert second.efficiency == pytest.approx(1 / 1.6)
    assert second.reason.startswith("communication +300 ms, 300 ms without waiting")


def test_weak_scaling_beyond_the_cores_names_the_shared_cores():
    one = report(1, samples=4, compute=1.0)
    four = report(4, samples=16, compute=2.0)
    point = scaling([one, four])[1]
    assert point.efficiency == pytest.approx(0.5)
    assert "4 ranks of 1 threads share 2 cores" in point.reason


def test_the_slowest_link_of_the_data_path_is_the_one_that_sleeps():
    def read(number):
        time.sleep(0.05)
        return (np.zeros(4, np.float32),)

    def make(number):
        return (*read(number), np.zeros((100, 100), np.float32))

    links = measure_links(make, read, seconds=0.3)
    rates = {link.name: link.batches_per_second for link in links}
    assert list(rates) == ["store", "batch", "loader", "host to device"]
    assert rates["store"] <= 20
    assert rates["host to device"] > 20
    assert slowest(links).name != "host to device"


def test_the_roofline_takes_the_slower_of_products_and_memory():
    products = [
        Product(module="a.0.linear", kind="linear", operations=1e9, bytes=1e6),
        Product(module="a.1.linear", kind="linear", operations=1e6, bytes=1e9),
    ]
    peaks = Peaks(name="device", operations=1e9, bandwidth=1e9)
    assert least_seconds(products, peaks, number_bytes=4) == pytest.approx(2.0)
    assert least_seconds(products, peaks, number_bytes=2) == pytest.approx(1.5)
    (work,) = by_kind(products)
    assert (work.module, work.operations) == ("a.linear", 1e9 + 1e6)


def test_a_ratio_of_two_calls_is_of_their_times():
    ratio = ratio_of(lambda: time.sleep(0.1), lambda: time.sleep(0.02), rounds=3)
    assert 2 < ratio < 7


def test_a_job_is_as_slow_as_its_slowest_rank():
    two = report(2, samples=4, compute=1.0)
    slow = two.ranks[1].model_copy(update={"step_seconds": (3.0, 2.0, 9.0)})
    late = two.model_copy(update={"ranks": (two.ranks[0], slow)})
    assert late.step_seconds == 3.0
    assert late.mfu == pytest.approx(two.mfu * two.step_seconds / 3.0)
