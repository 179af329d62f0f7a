"""The referee of the emulated core: each rule is broken by a small kernel, and caught."""

import ctypes
from pathlib import Path

import pytest

from hpc.ops.native.library import build_library

HERE = Path(__file__).parent
EMULATOR = HERE.parents[2] / "hpc" / "ops" / "cuboid_attention" / "emulator"

RULES = {
    "a correct kernel": "none",
    "buffers beyond 192 KB": "capacity",
    "more buffers than a pipe has": "capacity",
    "a vector operand off by 4 bytes": "alignment",
    "a copy of 20 bytes": "alignment",
    "256 repeats": "parameter",
    "a stride of 256 blocks": "parameter",
    "a mask of 65 floats": "parameter",
    "4096 rows in a copy": "parameter",
    "a tensor written past its end": "bounds",
    "a global read past the end": "bounds",
    "an input written": "bounds",
    "one allocation too many": "queue",
    "a queue deeper than declared": "queue",
    "an empty queue read": "queue",
    "a tensor freed twice": "queue",
    "a tensor freed while queued": "queue",
    "a tensor given to another queue": "queue",
    "a tensor never freed": "queue",
    "a tensor used after it was freed": "use-after-free",
    "a tensor read before anything wrote it": "uninitialised",
    "the padding of a copy read": "uninitialised",
    "the padding of a copy read after it was filled": "none",
    "an output that is read": "uninitialised",
    "no barrier between dependent instructions": "race",
    "a copy read without a flag": "race",
    "a copy read after its flag": "none",
    "a copy over what is still being read": "race",
    "a scalar read without a flag": "race",
    "a store before the result is there": "race",
    "a flag never waited for": "events",
    "a flag never set": "events",
    "a flag set twice": "events",
    "an event id of 8": "events",
    "more queued tensors than events": "events",
    "repeats that depend on each other": "overlap",
    "source and destination that overlap in part": "overlap",
    "a widening cast that rounds": "parameter",
}


@pytest.fixture(scope="module")
def referee():
    library = build_library(
        name="emulator-rules",
        sources=[HERE / "emulator_rules.cpp"],
        include=[EMULATOR],
        flags=("-std=c++17", "-O0", "-fPIC", "-shared"),
    )
    loaded = ctypes.CDLL(str(library))
    for function in (loaded.broken_rule, loaded.broken_launch_rule):
        function.restype = ctypes.c_char_p
    for function in (loaded.add_cycles, loaded.chain_cycles):
        function.restype = ctypes.c_double
    return loaded


@pytest.mark.parametrize("kernel", RULES)
def test_the_referee_names_the_rule_that_a_kernel_breaks(referee, kernel):
    assert referee.broken_rule(kernel.encode()).decode() == RULES[kernel]


def test_two_cores_may_not_write_the_same_bytes(referee):
    assert referee.broken_launch_rule(2, 32) == b"none"
    assert referee.broken_launch_rule(2, 0) == b"race"


def test_an_output_must_be_written_whole(referee):
    assert referee.broken_launch_rule(1, 0) == b"uninitialised"


@pytest.mark.parametrize(("stride", "cycles"), [(1, 1), (33, 1), (2, 1), (8, 4), (16, 8)])
def test_blocks_in_one_bank_group_are_read_one_after_the_other(referee, stride, cycles):
    assert referee.add_cycles(stride) == cycles


def test_dependent_instructions_wait_for_each_other(referee):
    assert referee.chain_cycles(10, True) > 1.5 * referee.chain_cycles(10, False)
