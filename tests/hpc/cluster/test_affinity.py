"""Ranks of a host share its cores; the user's own setting wins."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpc.cluster import affinity
from hpc.cluster.affinity import (
    USER_THREADS,
    describe,
    is_pinned,
    pin_rank,
    share_of_cores,
    threads_per_rank,
)


@given(cores=st.sets(st.integers(0, 300), min_size=1), ranks=st.integers(1, 64))
def test_the_shares_of_all_ranks_are_the_cores_each_once_and_alike(cores, ranks):
    shares = [
        share_of_cores(list(cores), local_rank=rank, local_size=ranks) for rank in range(ranks)
    ]
    if ranks > len(cores):
        assert all(set(share) == cores for share in shares)
        return
    assert sorted(core for share in shares for core in share) == sorted(cores)
    sizes = [len(share) for share in shares]
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= threads_per_rank(len(cores), ranks)


@pytest.fixture
def host(monkeypatch):
    """A host of 8 cores; what this process is kept to goes to a list."""
    kept: list[set[int]] = [set(range(8))]
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: kept[-1])
    monkeypatch.setattr(os, "sched_setaffinity", lambda process, cores: kept.append(set(cores)))
    monkeypatch.setattr(affinity, "_pinned", False)
    return kept


def test_a_rank_keeps_to_its_share_and_says_so(host):
    pin_rank(local_rank=1, local_size=4, environ={})
    assert host[-1] == {2, 3}
    assert is_pinned()
    assert describe({"OMP_NUM_THREADS": "2"}) == "cores 2-3 (its own), OMP_NUM_THREADS 2"


@pytest.mark.parametrize(
    "environ",
    [
        {"OMP_PROC_BIND": "close"},
        {"GOMP_CPU_AFFINITY": "0-7"},
        {"KMP_AFFINITY": "compact"},
        {"OMP_PLACES": "cores"},
        {USER_THREADS: "3"},
    ],
)
def test_a_user_who_decided_is_left_alone(host, environ):
    pin_rank(local_rank=1, local_size=4, environ=environ)
    assert len(host) == 1
    assert not is_pinned()
    assert "shared with the other ranks" in describe(environ)


@pytest.mark.parametrize("ranks", [1, 9])
def test_one_rank_and_more_ranks_than_cores_are_not_pinned(host, ranks):
    pin_rank(local_rank=0, local_size=ranks, environ={USER_THREADS: "2"})
    assert len(host) == 1


def test_threads_that_fit_the_share_are_no_objection(host):
    pin_rank(local_rank=3, local_size=4, environ={USER_THREADS: "2"})
    assert host[-1] == {6, 7}


def test_cores_that_do_not_follow_each_other_are_all_named(host):
    host.append({0, 1, 5, 7})
    assert describe({}).startswith("cores 0-1,5,7 ")
