"""The whole denoiser: output, loss and every gradient of the reference, options and refusals."""

import mindspore as ms
import numpy as np
import pytest
from denoiser_fixtures import SMALL_UNET, reference, set_reference_weights, small
from mindspore import Parameter, nn, ops

from hpc.errors import UserError
from prediff.convert.denoiser_names import denoiser_reference_name
from prediff.models.earthformer_unet import EarthformerUNet
from prediff.models.levels import Level, plan_levels

ms.set_context(mode=ms.PYNATIVE_MODE)

TINY = {
    "context_length": 2,
    "forecast_length": 2,
    "height": 5,
    "width": 6,
    "latent_channels": 3,
    "base_width": 8,
    "depths": [1, 1],
    "num_heads": 2,
    "pattern": "full",
}


class WeightedLoss(nn.Cell):
    """MODEL.md section 4.3: squared error, weighed by a learned log-variance a step."""

    def __init__(self, network, logvar):
        super().__init__()
        self.network = network
        self.logvar = Parameter(ms.Tensor(logvar), name="logvar")

    def construct(self, noisy, step, condition, noise):
        prediction = self.network(noisy, step, condition)
        error = (noise - prediction).square().mean((1, 2, 3, 4))
        s = ops.gather(self.logvar, step, 0)
        return (error * ops.exp(-s) + s).mean()


class LossAndGradients(nn.Cell):
    def __init__(self, loss):
        super().__init__()
        self.gradient = ops.value_and_grad(loss, None, loss.trainable_params())

    def construct(self, *inputs):
        return self.gradient(*inputs)


@pytest.fixture(scope="module")
def small_unet():
    return set_reference_weights(
        EarthformerUNet(**SMALL_UNET), prefix="unet", shapes=reference()["unet"]
    )


def in_graph_mode(function, *inputs):
    ms.set_context(mode=ms.GRAPH_MODE)
    try:
        return function(*inputs)
    finally:
        ms.set_context(mode=ms.PYNATIVE_MODE)


def test_output_equals_the_reference(small_unet):
    arrays = small()
    step = ms.Tensor(arrays["t"].astype(np.int32))
    y = small_unet(ms.Tensor(arrays["zt"]), step, ms.Tensor(arrays["zc"])).asnumpy()
    expected = arrays["unet.out"]
    np.testing.assert_allclose(y, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.slow
def test_compiled_loss_and_all_gradients_equal_the_reference(small_unet):
    arrays = small()
    t = arrays["t"]
    abar = np.cumprod(1 - np.linspace(1e-4**0.5, 2e-2**0.5, 1000) ** 2)[t].reshape(-1, 1, 1, 1, 1)
    noisy = np.sqrt(abar) * arrays["x0"] + np.sqrt(1 - abar) * arrays["eps"]
    loss = WeightedLoss(small_unet, arrays["logvar"])
    inputs = [noisy.astype(np.float32), t.astype(np.int32), arrays["zc"], arrays["eps"]]
    value, gradients = in_graph_mode(LossAndGradients(loss), *map(ms.Tensor, inputs))
    np.testing.assert_allclose(value.asnumpy(), reference()["loss"], rtol=1e-5)

    found = {
        denoiser_reference_name(parameter.name.removeprefix("network.")): gradient.asnumpy()
        for parameter, gradient in zip(loss.trainable_params(), gradients, strict=True)
    }
    norms = reference()["grad_norm"]
    assert set(found) == set(norms) | {"logvar"}
    for name, norm in norms.items():
        # Where the exact gradient is 0 both are rounding noise.
        np.testing.assert_allclose(np.linalg.norm(found[name]), norm, rtol=1e-4, atol=1e-5)
    stored = [key.removeprefix("grad.") for key in arrays if key.startswith("grad.")]
    assert len(stored) == 8
    for name in stored:
        expected = arrays[f"grad.{name}"]
        np.testing.assert_allclose(found[name], expected, atol=2e-5 * np.abs(expected).max())


def tiny_inputs(batch=2, **change):
    sizes = {**TINY, **change}
    random = np.random.RandomState(0)
    grid = (sizes["height"], sizes["width"], sizes["latent_channels"])
    noisy, condition = (
        ms.Tensor(random.standard_normal((batch, frames, *grid)).astype(np.float32))
        for frames in (sizes["forecast_length"], sizes["context_length"])
    )
    step = ms.Tensor(np.arange(batch, dtype=np.int32) * 300 + 5)
    return noisy, step, condition


def perturbed(network, seed=0):
    """Give every parameter random values: a fresh network is 0 everywhere."""
    random = np.random.RandomState(seed)
    for parameter in network.get_parameters():
        value = parameter.asnumpy() + 0.2 * random.standard_normal(parameter.shape)
        parameter.set_data(ms.Tensor(value.astype(np.float32)))
    return network


@pytest.mark.parametrize(
    "options",
    [
        {"depths": [1, 1, 1]},
        {"pattern": "video_swin_2x2", "padding": "ignore"},
        {"pattern": "divided_st", "num_global_vectors": 2, "hierarchical_positions": True},
    ],
)
def test_levels_on_odd_frames_use_all_inputs_and_all_parameters(options):
    network = perturbed(EarthformerUNet(**{**TINY, **options}))
    noisy, step, condition = tiny_inputs()

    def run(noisy, step, condition):
        return network(noisy, step, condition)

    y = run(noisy, step, condition).asnumpy()
    assert y.shape == noisy.shape
    assert not np.allclose(run(noisy, step + 100, condition).asnumpy(), y)
    assert not np.allclose(run(noisy, step, -condition).asnumpy(), y)

    def objective(noisy, step, condition):
        return run(noisy, step, condition).square().sum()

    gradients = ops.grad(objective, None, network.trainable_params())(noisy, step, condition)
    unused = [
        parameter.name
        for parameter, gradient in zip(network.trainable_params(), gradients, strict=True)
        if not gradient.asnumpy().any()
    ]
    # Nothing looks at what the global vectors learn in the very last sub-layer.
    last = ("attentions.1.global_part.projection", "global_feed_forwards.1")
    last = tuple(f"up_levels.0.stacks.0.{part}" for part in last)
    assert not [name for name in unused if not name.startswith(last)]


class Gradients(nn.Cell):
    """Gradients of the sum of squares of a network's output."""

    def __init__(self, network):
        super().__init__()
        self.network = network
        self.run = ops.grad(self.objective, None, ms.ParameterTuple(network.trainable_params()))

    def objective(self, noisy, step, condition):
        return self.network(noisy, step, condition).square().sum()

    def construct(self, noisy, step, condition):
        return self.run(noisy, step, condition)


@pytest.mark.slow
def test_a_graph_that_runs_again_has_the_gradients_of_the_first_time():
    network = perturbed(EarthformerUNet(**{**TINY, "pattern": "video_swin_2x2"}))
    gradients = Gradients(network)
    ms.set_context(mode=ms.GRAPH_MODE)
    try:
        runs = [[g.asnumpy() for g in gradients(*tiny_inputs())] for _ in range(3)]
    finally:
        ms.set_context(mode=ms.PYNATIVE_MODE)
    for again in runs[1:]:
        for parameter, a, b in zip(network.trainable_params(), runs[0], again, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5, err_msg=parameter.name)


def test_blocks_run_one_by_one_give_the_whole():
    """The cut that the pipeline makes: entry, blocks in order, skips by level, exit."""
    network = perturbed(EarthformerUNet(**TINY))
    noisy, step, condition = tiny_inputs()
    h, e = network.entry(network.merge_inputs(noisy, condition), step)
    skips = []
    for i, level in enumerate(network.down_levels):
        h = network.mergings[i - 1](h) if i else h
        for j in range(level.depth):
            h = level.block(j, h, e)
        skips.append(h)
    for i in reversed(range(len(skips))):
        level = network.up_levels[i]
        h = h + skips[i] if i < len(skips) - 1 else h
        for j in range(level.depth):
            h = level.block(j, h, e)
        h = network.upsamplings[i - 1](h) if i else h
    expected = network(noisy, step, condition).asnumpy()
    np.testing.assert_array_equal(network.leave(h).asnumpy(), expected)


def test_a_fresh_network_predicts_zero_and_depends_on_its_seed_only():
    first, again, other = (EarthformerUNet(**TINY, seed=seed) for seed in (1, 1, 2))
    assert not first(*tiny_inputs()).asnumpy().any()
    differing = 0
    for a, b, c in zip(*(net.get_parameters() for net in (first, again, other)), strict=True):
        np.testing.assert_array_equal(a.asnumpy(), b.asnumpy())
        differing += not np.array_equal(a.asnumpy(), c.asnumpy())
    assert differing > 30


def test_starting_weights_follow_the_rules():
    network = EarthformerUNet(**SMALL_UNET, seed=3)
    weights = {name: p.asnumpy() for name, p in network.parameters_and_names()}
    level = "down_levels.1"
    for name, fan_in in {
        f"{level}.stacks.0.attentions.0.qkv": 64,
        f"{level}.stacks.0.feed_forwards.0.linear_1": 64,
        f"{level}.time_block.time_projection": 128,
        "mergings.0.reduction": 128,
    }.items():
        weight = weights[f"{name}.weight"]
        np.testing.assert_allclose(weight.std(), fan_in**-0.5, rtol=0.05)
        assert np.abs(weight).max() > 2 * fan_in**-0.5
        assert not weights.get(f"{name}.bias", np.zeros(1)).any()
    for name in (
        f"{level}.stacks.0.attentions.0.projection",
        f"{level}.stacks.0.feed_forwards.0.linear_2",
        f"{level}.time_block.conv_2",
        "entry.projection.conv_2",
        "final_projection",
    ):
        assert not weights[f"{name}.weight"].any()
        assert not weights[f"{name}.bias"].any()
    for name, fan_in in {
        f"{level}.time_block.conv_1": 64 * 27,
        "entry.projection.skip": 9,
        "upsamplings.0.conv": 64 * 9,
        "entry.time_embedding.linear_2": 128,
    }.items():
        bound = fan_in**-0.5
        assert 0.9 * bound < np.abs(weights[f"{name}.weight"]).max() <= bound
        assert 0 < np.abs(weights[f"{name}.bias"]).max() <= bound
    for name in ("entry.position_embedding.height", f"{level}.stacks.0.attentions.1.relative_bias"):
        np.testing.assert_allclose(weights[name].std(), 0.02, rtol=0.2)


def test_dropout_needs_training_and_keys_and_follows_the_sample():
    network = perturbed(EarthformerUNet(**TINY, time_block_dropout=0.2))
    noisy, step, condition = tiny_inputs()
    keys = ms.Tensor(np.array([11, 12], np.int32))
    plain = network(noisy, step, condition).asnumpy()
    np.testing.assert_array_equal(network(noisy, step, condition, keys).asnumpy(), plain)
    network.set_train()
    np.testing.assert_array_equal(network(noisy, step, condition).asnumpy(), plain)
    both = network(noisy, step, condition, keys).asnumpy()
    assert not np.allclose(both, plain, atol=1e-3)
    second = network(noisy[1:], step[1:], condition[1:], keys[1:]).asnumpy()
    np.testing.assert_allclose(second[0], both[1], atol=1e-5 * np.abs(both).max())
    swapped = network(noisy, step, condition, keys[::-1]).asnumpy()
    assert not np.allclose(swapped, both, atol=1e-3)


def test_every_dropout_layer_has_a_number_of_its_own():
    network = EarthformerUNet(**TINY, time_block_dropout=0.2)
    numbers = [cell.layer for _, cell in network.cells_and_names() if hasattr(cell, "factor")]
    assert len(numbers) > 20
    assert len(set(numbers)) == len(numbers)


class SquaredOutput(nn.Cell):
    def __init__(self, level):
        super().__init__()
        self.level = level

    def construct(self, h, embedding, keys):
        return self.level(h, embedding, keys).square().mean()


def test_recomputed_blocks_give_the_same_gradients_with_dropout():
    plan = plan_levels(grid=(3, 4, 4), base_width=8, depths=[1], num_heads=2)[0]
    drops = ("attention_dropout", "projection_dropout", "feed_forward_dropout")
    random = np.random.RandomState(0)
    h, e = (
        ms.Tensor(random.standard_normal(shape).astype(np.float32))
        for shape in ((2, 3, 4, 4, 8), (2, 32))
    )
    keys = ms.Tensor(np.array([11, 12], np.int32))
    results = []
    for recompute in (False, True):
        level = Level(
            plan,
            embedding_dim=32,
            time_block_dropout=0.3,
            recompute=recompute,
            compute_dtype=ms.float32,
            stack_options={"num_heads": 2, "pattern": "full", **dict.fromkeys(drops, 0.3)},
        )
        perturbed(level).set_train()
        value, gradients = in_graph_mode(LossAndGradients(SquaredOutput(level)), h, e, keys)
        results.append([value.asnumpy(), *(g.asnumpy() for g in gradients)])
    for plain, recomputed in zip(*results, strict=True):
        np.testing.assert_allclose(recomputed, plain, rtol=1e-5, atol=1e-6)


def test_half_precision_stays_near_single_precision():
    outputs = [
        perturbed(EarthformerUNet(**TINY, compute_dtype=dtype))(*tiny_inputs())
        for dtype in (ms.float32, ms.float16)
    ]
    assert outputs[1].dtype == ms.float32
    single, half = (y.asnumpy() for y in outputs)
    assert 0 < np.abs(half - single).max() < 0.02 * np.abs(single).max()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_heads": 3}, "level 0 has 8 channels, which 3 heads do not divide"),
        ({"pattern": "axail"}, "attention pattern 'axail' is unknown"),
        ({"padding": "wrap"}, "padding 'wrap' is unknown"),
        ({"depths": [1, 1, 1, 1, 1]}, "5 levels are too many for frames of 5x6"),
        ({"context_length": 0}, "context of 0 and forecast of 2 frames"),
        ({"feed_forward_dropout": 1.5}, "dropout probability 1.5"),
        ({"latent_channels": 0}, "latent_channels"),
        ({"num_global_vectors": -1}, "num_global_vectors"),
        ({"compute_dtype": ms.int32}, "compute_dtype"),
        ({"compute_dtype": ms.bfloat16}, "bfloat16 has no operators on CPU"),
        ({"backend": "cuda"}, "backend 'cuda' is unknown"),
    ],
)
def test_settings_that_cannot_work_are_refused_at_construction(change, message):
    with pytest.raises(UserError, match=message):
        EarthformerUNet(**{**TINY, **change})
