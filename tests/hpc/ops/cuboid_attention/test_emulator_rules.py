"""The referee of the emulated core: each rule is broken by a small kernel, and caught."""

import ctypes
from pathlib import Path

import pytest

from hpc.ops.native.library import build_library

HERE = Path(__file__).parent
EMULATOR = HERE / "emulator"

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
    "an event id fetched while freed buffers hold all of them": "events",
    "an event id of 8": "events",
    "more queued tensors than events": "events",
    "repeats that depend on each other": "overlap",
    "source and destination that overlap in part": "overlap",
    "a widening cast that rounds": "parameter",
}

CUBE_RULES = {
    "a correct kernel": "none",
    "a copy not waited for": "race",
    "a product of what is being loaded": "race",
    "a sum stored before it is there": "race",
    "a sum overwritten while it is stored": "race",
    "rows overwritten while they are loaded": "race",
    "the workspace read before anything wrote it": "uninitialised",
    "the workspace read after a flag that says nothing of it": "race",
    "the workspace overwritten while it is read": "race",
    "an output of two kinds of cores": "race",
    "a row of the sums that nothing wrote": "uninitialised",
    "columns that nothing wrote": "uninitialised",
    "a product of one row": "parameter",
    "a sum rounded to another type": "parameter",
    "a vector instruction on a cube core": "core",
    "a vector buffer on a cube core": "core",
    "a product on a vector core": "core",
    "a left matrix in L0B": "core",
    "L0C beyond 128 KB": "capacity",
    "L0A beyond 64 KB": "capacity",
    "L1 beyond 512 KB": "capacity",
    "256 fractals in a load": "parameter",
    "rows 65536 elements apart": "parameter",
    "fractals off by a block": "alignment",
    "a flag between cores that nothing sets": "events",
    "a flag between cores that nothing waits for": "events",
    "a flag of one vector core only": "events",
    "a flag between cores with the id 11": "events",
    "16 flags that nothing waited for": "events",
    "an event id that was not allocated": "events",
}


def built(source):
    library = build_library(
        name=f"emulator-{source}",
        sources=[HERE / f"{source}.cpp"],
        include=[EMULATOR],
        flags=("-std=c++17", "-O0", "-fPIC", "-shared"),
    )
    return ctypes.CDLL(str(library))


@pytest.fixture(scope="module")
def cube_referee():
    loaded = built("cube_rules")
    loaded.broken_rule.restype = ctypes.c_char_p
    return loaded


@pytest.mark.parametrize("kernel", CUBE_RULES)
def test_the_referee_names_the_rule_that_a_kernel_of_both_cores_breaks(cube_referee, kernel):
    assert cube_referee.broken_rule(kernel.encode()).decode() == CUBE_RULES[kernel]


def test_the_cube_core_multiplies_fractals_and_the_vector_cores_get_the_product(cube_referee):
    assert cube_referee.broken_rule(b"a correct kernel") == b"none"
    assert cube_referee.product_is_right() == 1


@pytest.fixture(scope="module")
def referee():
    loaded = built("emulator_rules")
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
