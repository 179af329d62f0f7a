import pytest

from hpc.cluster.failure_codes import FAILURES, explain, find_failures, first_cause

WAITED = """EI0006: [PID: 176930] 2025-07-01-00:40:04.135.732 Getting socket times out.
        Solution: 1. Check the rank service processes
[ERROR] RUNTIME(1,python): stream synchronize failed, ret:507046
"""
LOST = (
    "Communication_Error: Link down(EI0013): error cqe\nStream synchronize, error code is 507056\n"
)


def test_the_first_code_of_a_log_becomes_one_line():
    line = explain(WAITED)
    assert line is not None
    assert line.startswith("EI0006: no connection to another rank in time: ")
    assert "\n" not in line


def test_a_rank_that_waited_is_not_the_cause_where_another_one_failed():
    assert first_cause({0: WAITED, 3: LOST}) == (3, explain(LOST))
    assert first_cause({0: WAITED, 1: WAITED}) == (0, explain(WAITED))


def test_numbers_that_are_no_codes_say_nothing():
    assert explain("step 507015 of 1000000, loss 0.5; wrote 107001 windows; EI00061") is None
    assert first_cause({0: "all is well"}) is None


@pytest.mark.parametrize("code", FAILURES)
def test_every_code_is_found_as_the_vendor_prints_it(code):
    text = f"{code}: [PID: 7]" if code[0] == "E" else f"Call rtMalloc failed, error code is {code}."
    assert [failure.code for failure in find_failures(text)] == [code]
