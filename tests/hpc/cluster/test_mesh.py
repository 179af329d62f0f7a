import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpc.cluster.mesh import Mesh, make_mesh
from hpc.errors import UserError


@given(data=st.integers(1, 9), pipeline=st.integers(1, 9))
def test_coordinates_and_groups_agree(data, pipeline):
    mesh = Mesh(data=data, pipeline=pipeline)
    for rank in range(mesh.size):
        data_rank, pipeline_rank = mesh.coordinates(rank)
        assert mesh.rank_at(data_rank=data_rank, pipeline_rank=pipeline_rank) == rank
        assert mesh.data_group(rank)[data_rank] == rank
        assert mesh.pipeline_group(rank)[pipeline_rank] == rank
        assert len(mesh.data_group(rank)) == data
        assert set(mesh.data_group(rank)) & set(mesh.pipeline_group(rank)) == {rank}


@given(data=st.integers(1, 5), pipeline=st.integers(1, 5))
def test_walking_the_stages_visits_a_pipeline_in_order(data, pipeline):
    mesh = Mesh(data=data, pipeline=pipeline)
    for first in range(0, mesh.size, pipeline):
        walk, rank = [], first
        while rank is not None:
            walk.append(rank)
            rank = mesh.next_stage(rank)
        assert walk == mesh.pipeline_group(first)
        assert [mesh.previous_stage(r) for r in walk] == [None, *walk[:-1]]


def test_the_table_has_a_line_for_every_rank():
    lines = Mesh(data=2, pipeline=2).table(["a", "a", "b", "b"]).splitlines()
    assert lines[0] == "mesh 2 x 2 (data x pipeline), 4 ranks"
    assert [line.split() for line in lines[2:]] == [
        ["0", "0", "0", "a"],
        ["1", "0", "1", "a"],
        ["2", "1", "0", "b"],
        ["3", "1", "1", "b"],
    ]


def test_a_mesh_uses_all_ranks():
    assert make_mesh(ranks=8, pipeline=2, global_batch=64) == Mesh(data=4, pipeline=2)


def test_stages_that_do_not_divide_the_ranks_are_refused_with_those_that_do():
    with pytest.raises(UserError, match=r"3 pipeline stages .* 8 ranks.*\[1, 2, 4, 8\]"):
        make_mesh(ranks=8, pipeline=3, global_batch=64)


def test_a_batch_that_the_ranks_do_not_divide_is_refused_with_neighbours_that_work():
    with pytest.raises(UserError, match=r"batch of 8 or 16, or 1, 2, 3, 4, 6 ranks"):
        make_mesh(ranks=8, global_batch=12)
    with pytest.raises(UserError, match=r"4 data ranks x 2 micro-batches: use .* 8 or 16"):
        make_mesh(ranks=4, global_batch=12, accumulation=2)
    with pytest.raises(UserError, match="batch of 8"):
        make_mesh(ranks=8, global_batch=4)


def test_no_micro_batches_are_refused():
    with pytest.raises(UserError, match="0 micro-batches"):
        make_mesh(ranks=1, global_batch=4, accumulation=0)
