"""What is decided about a training before anything is built, by settings and ranks alone."""

import pytest

from hpc.errors import UserError
from prediff.config import load_config
from prediff.training.parallelize import parallelize, parallelize_denoiser


def denoiser(*settings, ranks=1):
    return parallelize_denoiser(load_config(None, settings), ranks=ranks)


def test_by_default_every_rank_holds_the_network_and_makes_one_graph():
    found = denoiser(ranks=4)
    assert (found.mesh.data, found.mesh.pipeline) == (4, 1)
    assert (found.engine, found.micro_batches, found.bounds) == ("one graph", 1, ())


def test_small_micro_batches_are_accumulated():
    found = denoiser("train_diffusion.micro_batch=2", ranks=4)  # a global batch of 16
    assert (found.engine, found.micro_batches) == ("accumulating", 2)


def test_stages_are_folded_with_enough_micro_batches_to_keep_them_busy():
    found = denoiser("parallel.pipeline=2", ranks=4)
    assert (found.engine, found.mesh.data, found.mesh.pipeline) == ("folded", 2, 2)
    assert found.micro_batches == 4
    assert found.bounds[0] == 0
    assert len(found.bounds) == 5
    assert not found.recomputes_in_blocks


def test_recomputation_is_by_block_on_a_whole_rank_and_within_blocks_in_a_stage():
    whole = denoiser("denoiser.recompute=true")
    assert (whole.engine, whole.recomputes_in_blocks) == ("block by block", False)
    assert whole.bounds == tuple(range(len(whole.bounds)))
    stage = denoiser("denoiser.recompute=true", "parallel.pipeline=2", ranks=2)
    assert (stage.engine, stage.recomputes_in_blocks) == ("folded", True)


def test_state_is_shared_out_over_the_data_axis_only():
    setting = "parallel.shard_optimizer=true"
    assert denoiser(setting, ranks=2).shares_optimizer
    assert not denoiser(setting, ranks=1).shares_optimizer
    assert not denoiser(setting, "parallel.pipeline=2", ranks=2).shares_optimizer


@pytest.mark.parametrize(
    ("ranks", "engine", "micro_batches"),
    [(1, "fixed order", 8), (4, "fixed order", 2), (8, "fixed order", 1), (16, "one graph", 1)],
)
def test_a_fixed_order_needs_ranks_that_divide_its_shards(ranks, engine, micro_batches):
    settings = load_config(None, []).train_autoencoder
    found = parallelize(settings=settings, ranks=ranks, summation_shards=8)
    assert (found.engine, found.micro_batches) == (engine, micro_batches)


def test_ranks_that_do_not_divide_the_batch_are_refused():
    with pytest.raises(UserError, match="16"):
        denoiser(ranks=3)
