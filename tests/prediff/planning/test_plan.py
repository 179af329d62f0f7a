"""The dry run says what fits, what is best, and what would work instead."""

import pytest
from rich.console import Console

from hpc.cluster.mesh import Mesh
from hpc.errors import UserError
from prediff.config import Config
from prediff.planning.plan import DEVICES, GIGA, _Cluster, plan
from prediff.planning.tables import render

PUBLISHED = {
    "data": {"frame_size": 128},
    "autoencoder": {"latent_channels": 64, "widths": (128, 256, 512, 512)},
    "denoiser": {
        "base_width": 256,
        "depths": (4, 4),
        "num_heads": 4,
        "precision": "float16",
    },
    "train_diffusion": {"global_batch": 64, "micro_batch": 2},
}


def published(**changes):
    sections = {**PUBLISHED, **changes}
    return Config.model_validate(sections)


def text(found):
    console = Console(width=140, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(render(found))
    return console.export_text()


def test_a_cluster_of_eight_nodes_is_planned_with_its_best_mesh_and_assumptions():
    found = plan(config=published(), nodes=8, per_node=8)
    assert {o.mesh.pipeline for o in found.meshes} == {1, 2, 4, 8}
    assert found.best.step_seconds == min(o.step_seconds for o in found.meshes if o.fits)
    assert found.configured.mesh.data == 64
    assert 0 < found.best.mfu < 0.45
    shown = text(found)
    assert "64 x 1" in shown
    assert "assumed for NPUs" in shown
    assert "nothing here has run on an NPU yet" in shown


def test_more_stages_hold_fewer_parameters_and_less_memory_a_rank():
    found = plan(config=published(), nodes=1, per_node=8)
    parameters = [max(r.parameters for r in o.ranks) for o in found.meshes]
    memory = [max(r.memory for r in o.ranks) for o in found.meshes]
    assert parameters == sorted(parameters, reverse=True)
    assert memory == sorted(memory, reverse=True)
    assert found.meshes[0].ranks[0].parameters == 136_817_538
    two = found.meshes[1]
    assert [r.blocks for r in two.ranks] == ["0-3 12-15", "4-7 8-11"]


def test_a_rank_of_the_whole_network_takes_what_a_training_step_was_measured_to_take():
    config = published(
        denoiser={**PUBLISHED["denoiser"], "precision": "float32"},
        train_diffusion={"global_batch": 1},
    )
    found = plan(config=config, nodes=1, per_node=1)
    # 6.2 GB were measured without a moving average, which adds 0.55 GB.
    assert found.best.ranks[0].memory == pytest.approx(6.75 * GIGA, rel=0.1)


def test_a_device_with_a_higher_peak_is_faster():
    fast, slow = (
        plan(config=published(), nodes=1, per_node=8, device=name) for name in ("910B1", "910B4")
    )
    assert fast.best.step_seconds < slow.best.step_seconds


@pytest.mark.parametrize(
    ("changes", "arguments", "message"),
    [
        ({"parallel": {"pipeline": 3}}, {}, r"3 pipeline stages do not divide 8 ranks"),
        ({"parallel": {"pipeline": 16}}, {"nodes": 2}, r"at most 8 stages.*that work: 16x1, 8x2"),
        (
            {"train_diffusion": {"global_batch": 6}},
            {},
            r"cannot be cut into 8 data ranks.*that work: 2x4, 1x8",
        ),
        ({}, {"device": "910"}, r"'910' is unknown: choose 910B1"),
        ({}, {"nodes": 0}, "both must be at least 1"),
        ({"parallel": {"pipeline": 8, "pipeline_engine": "mindspore"}}, {}, "to folded"),
        (
            {"train_diffusion": {"global_batch": 2**17, "micro_batch": 2048}},
            {},
            r"no mesh .* fits.*lower train_diffusion.micro_batch",
        ),
    ],
)
def test_what_cannot_run_is_refused_with_what_would(changes, arguments, message):
    with pytest.raises(UserError, match=message):
        plan(config=published(**changes), **{"nodes": 1, "per_node": 8, **arguments})


def test_sharing_out_the_optimizer_leaves_each_data_rank_its_part_of_moments_and_average():
    whole, shared = (
        plan(config=published(parallel={"shard_optimizer": on}), nodes=1, per_node=8)
        for on in (False, True)
    )
    for before, after in zip(whole.meshes, shared.meshes, strict=True):
        rank, data = before.ranks[0], before.mesh.data
        saved = rank.memory - after.ranks[0].memory
        # Two moments and the average, and the gradient's clipped copy if the update is the peak.
        expected = [4 * n * rank.parameters * (1 - 1 / data) for n in (3, 4)]
        assert expected[0] * 0.999 <= saved <= expected[1] * 1.001


def test_what_waits_between_stages_takes_memory():
    cluster = _Cluster(published(), DEVICES["910B2"], ranks=2, per_node=2)
    mesh, bounds = Mesh(data=1, pipeline=2), (0, 2, 4, 6, len(cluster.each))
    one, three = (
        cluster._rank(mesh, bounds, stage=0, samples=2, micro_batches=4, live=live)
        for live in (1, 3)
    )
    largest = max(cluster._message(bounds, chunk, 2) for chunk in (0, 2))
    assert three.memory - one.memory == pytest.approx(2 * largest)
