"""The automatic test period begins after the widest gap."""

from datetime import datetime, timedelta

import pytest

from hpc.errors import UserError
from prediff.data.split_date import widest_gap

DAY = timedelta(days=1)
START = datetime(2016, 1, 1)


def test_the_boundary_lies_before_the_widest_gap():
    times = [START + n * DAY for n in (0, 1, 2, 3, 90, 91, 92)]
    assert widest_gap(times[::-1]) == START + 3 * DAY


def test_a_wider_gap_that_leaves_too_few_or_too_many_for_the_test_does_not_count():
    times = [START, *(START + (100 + n) * DAY for n in range(12)), START + 120 * DAY]
    times += [START + 121 * DAY, START + 500 * DAY]
    assert widest_gap(times) == START + 111 * DAY


def test_events_of_one_time_cannot_be_split():
    with pytest.raises(UserError, match="test_from"):
        widest_gap([START] * 10)
