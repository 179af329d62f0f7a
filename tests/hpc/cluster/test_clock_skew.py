"""Readings of several hosts' clocks; tests/distributed/test_started_alike.py has real ranks."""

import pytest

from hpc.cluster.clock_skew import LARGEST_DIFFERENCE, _warning, clock_warning
from hpc.cluster.runtime import ALONE


def warning(*readings: float) -> str | None:
    hosts = [(f"node{rank}", reading) for rank, reading in enumerate(readings)]
    return _warning(hosts, before=1000.0, after=1030.0, largest=LARGEST_DIFFERENCE)


def test_ranks_that_come_late_are_no_reason_to_warn():
    assert warning(1001.0, 1029.0, 1030.0 + LARGEST_DIFFERENCE) is None


@pytest.mark.parametrize(
    ("reading", "said"), [(1092.4, "is 62 s ahead"), (400.0, "is 600 s behind")]
)
def test_a_clock_that_differs_is_named_in_one_line(reading, said):
    line = warning(1001.0, 1002.0, reading)
    assert line is not None
    assert "compared with rank 0 on node0" in line
    assert f"rank 2 on node2 {said}" in line
    assert "rank 1" not in line
    assert "\n" not in line


def test_many_clocks_that_differ_fit_in_a_line():
    line = warning(1001.0, *[2000.0] * 100)
    assert "rank 4 on node4 is 970 s ahead and 96 more" in line


def test_one_process_has_one_clock():
    assert clock_warning(ALONE) is None
