"""The partition is the best one, and keeps skips on their ranks."""

from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpc.errors import UserError
from hpc.pipeline.partition import fold_blocks, split_blocks


def worst_rank(costs, bounds):
    chunks = [sum(costs[a:b]) for a, b in pairwise(bounds)]
    pairs = [(chunks[c], chunks[-1 - c]) for c in range(len(chunks) // 2)]
    return max(sum(pair) + max(pair) for pair in pairs)


def keeps_skips(bounds, skips):
    def chunk(block):
        return max(c for c, start in enumerate(bounds) if start <= block)

    return all(chunk(target) == len(bounds) - 2 - chunk(source) for source, target in skips)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3), st.lists(st.integers(1, 9), min_size=6, max_size=9), st.booleans())
def test_no_other_cut_is_better(stages, costs, has_skip):
    blocks = len(costs)
    skips = [(1, blocks - 2)] if has_skip else []
    cuts = combinations(range(1, blocks), 2 * stages - 1)
    options = [(0, *cut, blocks) for cut in cuts if keeps_skips((0, *cut, blocks), skips)]
    if not options:
        return
    bounds = fold_blocks(costs, stages=stages, skips=skips)
    assert keeps_skips(bounds, skips)
    assert worst_rank(costs, bounds) == min(worst_rank(costs, option) for option in options)


def test_equal_blocks_are_spread_evenly_over_the_full_network():
    skips = [(3, 12)]
    assert fold_blocks([1.0] * 16, stages=2, skips=skips) == (0, 4, 8, 12, 16)
    assert fold_blocks([1.0] * 16, stages=4, skips=skips) == tuple(range(0, 17, 2))
    assert fold_blocks([1.0] * 16, stages=8, skips=skips) == tuple(range(17))


def test_a_costly_entry_does_not_make_chunks_uneven():
    assert fold_blocks([1.4, *[1.0] * 15], stages=4, skips=[(3, 12)]) == tuple(range(0, 17, 2))


def test_more_stages_than_blocks_are_refused_with_the_number_that_works():
    with pytest.raises(UserError, match="use at most 2 stages"):
        fold_blocks([1.0] * 4, stages=3, skips=[(0, 3)])


def test_skips_that_no_cut_can_keep_are_refused():
    with pytest.raises(UserError, match="keeps all skip connections"):
        fold_blocks([1.0] * 4, stages=2, skips=[(0, 2)])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=4, max_size=9), st.integers(1, 4))
def test_no_other_row_of_stages_is_better(costs, stages):
    def worst(bounds):
        return max(sum(costs[a:b]) for a, b in pairwise(bounds))

    bounds = split_blocks(costs, stages=stages)
    assert (bounds[0], bounds[-1], len(bounds)) == (0, len(costs), stages + 1)
    assert list(bounds) == sorted(set(bounds)), "every stage has a block"
    cuts = combinations(range(1, len(costs)), stages - 1)
    assert worst(bounds) == min(worst((0, *cut, len(costs))) for cut in cuts)


def test_a_row_of_more_stages_than_blocks_is_refused_with_the_number_that_works():
    with pytest.raises(UserError, match="use at most 4 stages"):
        split_blocks([1.0] * 4, stages=5)
