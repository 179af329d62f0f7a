import numpy as np
import pytest

from hpc.train.tree_sum import add_as_tree


def parts_of(values):
    return [lambda value=value: (value,) for value in values]


def add(a, b):
    return (np.float32(a + b),)


@pytest.mark.parametrize("ranks", [1, 2, 4, 8])
def test_the_sum_has_the_same_bits_however_the_parts_lie_on_ranks(ranks):
    values = np.random.default_rng(0).standard_normal(8).astype(np.float32) * 10.0 ** np.arange(8)
    values = values.astype(np.float32)
    expected = add_as_tree(parts_of(values), add)
    own = [add_as_tree(parts_of(part), add)[0] for part in np.split(values, ranks)]
    distance = 1
    while distance < ranks:  # what the pair groups do
        own = [np.float32(own[r] + own[r ^ distance]) for r in range(ranks)]
        distance *= 2
    assert {total.tobytes() for total in own} == {np.float32(expected[0]).tobytes()}


def test_a_sum_in_another_order_has_other_bits():
    values = np.array([1e8, 1, -1e8, 1, 1, 1, 1, 1], np.float32)
    assert add_as_tree(parts_of(values), add)[0] != np.cumsum(values, dtype=np.float32)[-1]


def test_few_parts_are_held_at_once():
    alive, most = 0, 0

    def part():
        nonlocal alive, most
        alive += 1
        most = max(most, alive)
        return (1.0,)

    def join(a, b):
        nonlocal alive
        alive -= 1
        return (a + b,)

    assert add_as_tree([part] * 16, join) == (16.0,)
    assert most <= 5
