"""The pieces of a loss, run in one process, train and evaluate as the whole does."""

import mindspore as ms
import numpy as np
import pytest

from hpc.cluster.mesh import Mesh
from hpc.cluster.process_info import ProcessInfo
from hpc.cluster.runtime import Runtime
from hpc.errors import UserError
from hpc.pipeline.engine import PipelineEngine
from hpc.pipeline.folded import FoldedEngine
from hpc.train.step import TrainStep, train_step
from prediff.config import load_config
from prediff.diffusion import DiffusionLoss, noise_schedule
from prediff.diffusion.pipelined_loss import chunks_of_rank, chunks_of_single_blocks
from prediff.models.earthformer_unet import EarthformerUNet
from prediff.training.parallelize import parallelize_denoiser

SCALARS = ("mean_squared_error", "variational_term")
# A large eps: gradients of biases before a norm are rounding, which AdamW would blow up.
OPTIMIZER = {"weight_decay": 0.01, "max_norm": 0.5, "ema_decay": 0.9, "eps": 1e-2}


def make_loss(**changes):
    denoiser = EarthformerUNet(
        **{
            "context_length": 1,
            "forecast_length": 2,
            "height": 4,
            "width": 4,
            "latent_channels": 2,
            "base_width": 8,
            "depths": [1, 1],
            "num_heads": 2,
            "pattern": "full",
            "backend": "reference",
            "time_block_dropout": 0.3,
            **changes,
        }
    )
    loss = DiffusionLoss(denoiser, schedule=noise_schedule(name="linear", num_steps=50))
    random = np.random.default_rng(0)
    for parameter in loss.trainable_params():  # no zeros, so that gradients reach every weight
        values = 0.2 * random.standard_normal(parameter.shape) + parameter.asnumpy()
        parameter.set_data(ms.Tensor(values.astype(np.float32)))
    loss.set_train(True)
    return loss


def batch():
    random = np.random.default_rng(1)
    clean, noise = (random.standard_normal((4, 2, 4, 4, 2), np.float32) for _ in range(2))
    condition = random.standard_normal((4, 1, 4, 4, 2), np.float32)
    step = random.integers(50, size=4).astype(np.int32)
    return clean, noise, step, condition, np.arange(4, dtype=np.int32)


def two_pieces(loss):
    return chunks_of_rank(loss, stages=1, stage=0, costs=[1.0] * 4)


def make_pieces_step(cut, **changes):
    passes = FoldedEngine(
        cut(make_loss(**changes)),
        runtime=Runtime(place=ProcessInfo(), device="CPU", world_group=None),
        mesh=Mesh(),
        micro_batches=2,
    )
    engine = PipelineEngine(passes, scalars=len(SCALARS))
    return TrainStep(engine, scalar_names=SCALARS, **OPTIMIZER)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cut", "changes"), [(two_pieces, {}), (chunks_of_single_blocks, {"depths": [2, 1]})]
)
def test_pieces_in_one_process_train_and_evaluate_as_the_whole(cut, changes):
    pieces, whole_loss = make_pieces_step(cut, **changes), make_loss(**changes)
    parameters = {n: p for n, p in whole_loss.parameters_and_names() if p.requires_grad}
    whole = train_step(whole_loss, parameters, scalar_names=SCALARS, accumulation=2, **OPTIMIZER)
    for _ in range(2):
        reports = [step(*batch(), learning_rate=0.01).read() for step in (whole, pieces)]
        assert reports[1] == pytest.approx(reports[0], rel=1e-5)
    whole_loss.set_train(False)
    expected = [float(value.asnumpy()) for value in whole_loss(*map(ms.Tensor, batch()))]
    assert pieces.engine.evaluate(*batch()) == pytest.approx(expected, rel=1e-5)
    states = whole.export(), pieces.export()
    for kind in ("model", "optimizer", "ema"):
        one, other = (getattr(state, kind) for state in states)
        assert one.keys() == other.keys()
        for name, array in one.items():
            np.testing.assert_allclose(other[name], array, rtol=1e-5, atol=1e-6, err_msg=name)


def test_a_pipeline_refuses_what_it_cannot_carry_or_cut():
    with pytest.raises(UserError, match="does not carry global vectors"):
        chunks_of_rank(make_loss(num_global_vectors=2), stages=1, stage=0, costs=[1.0] * 4)
    with pytest.raises(UserError, match="use at most 2 stages"):
        chunks_of_rank(make_loss(), stages=3, stage=0, costs=[1.0] * 4)


def test_recomputation_refuses_global_vectors_before_anything_is_built():
    config = load_config(None, ["denoiser.recompute=true", "denoiser.global_vectors=2"])
    with pytest.raises(UserError, match="nor does recomputation"):
        parallelize_denoiser(config, ranks=1)


def test_a_rank_lets_go_of_the_blocks_that_others_hold():
    loss = make_loss(depths=[1, 2])
    whole = sum(p.size for p in loss.get_parameters())
    held = [
        {
            name: p.size
            for chunk in chunks_of_rank(
                make_loss(depths=[1, 2]), stages=3, stage=stage, costs=[1.0] * 6
            ).values()
            for name, p in chunk.parameters.items()
        }
        for stage in range(3)
    ]
    assert all(sum(part.values()) < whole for part in held)
    assert set().union(*held) == {n for n, p in loss.parameters_and_names() if p.requires_grad}
    shared = set(held[1]) & set(held[2])
    assert any("down_levels.1.time_block" in name for name in shared), "cut inside of a level"
    chunks_of_rank(loss, stages=3, stage=0, costs=[1.0] * 6)
    assert sum(p.size for p in loss.get_parameters()) < whole
