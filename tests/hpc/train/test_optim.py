import mindspore as ms
import numpy as np
import pytest
from adamw_reference import Reference
from mindspore import Parameter, Tensor

from hpc.train.buckets import make_layout
from hpc.train.optim import AdamW

SHAPES = {"weight": (30, 50), "bias": (50,), "scale": ()}
RATES = (1e-2, 3e-2, 1e-3, 2e-2, 5e-3)


def draw(seed: int, scale: float = 1.0) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {
        n: np.asarray(scale * generator.standard_normal(s), np.float32) for n, s in SHAPES.items()
    }


class Optimized:
    """The compiled optimizer on parameters of its own."""

    def __init__(self, *, bucket_bytes=1 << 20, weight_decay=1e-1, max_norm=20.0, ema_decay=0.6):
        ms.set_context(mode=ms.GRAPH_MODE)
        self.parameters = {n: Parameter(Tensor(w), name=n) for n, w in draw(0).items()}
        self.layout = make_layout(SHAPES, bucket_bytes=bucket_bytes)
        self.optimizer = AdamW(
            self.parameters,
            self.layout,
            weight_decay=weight_decay,
            max_norm=max_norm,
            ema_decay=ema_decay,
        )

    def step(self, gradients, rate, is_finite=True):
        buckets = tuple(Tensor(bucket) for bucket in self.layout.flatten(gradients))
        norm, made = self.optimizer(buckets, Tensor(rate, ms.float32), Tensor(is_finite))
        return float(norm.asnumpy()), bool(made.asnumpy())

    def weights(self):
        return {n: np.array(p.asnumpy()) for n, p in self.parameters.items()}

    def average(self):
        return self.layout.unflatten([np.array(b.asnumpy()) for b in self.optimizer.average])

    def everything(self):
        state = (*self.optimizer.first_moment, *self.optimizer.second_moment)
        arrays = [np.array(p.asnumpy()) for p in (*state, self.optimizer.updates)]
        return [*arrays, *self.weights().values(), *self.average().values()]


@pytest.fixture(scope="module")
def optimized():
    return Optimized()


@pytest.mark.parametrize("bucket_bytes", [1 << 20, 4])
def test_weights_and_average_are_those_of_torch_adamw_with_clipping(bucket_bytes):
    ours = Optimized(bucket_bytes=bucket_bytes)
    theirs = Reference(draw(0), weight_decay=1e-1, max_norm=20.0, ema_decay=0.6)
    clipped = []
    for seed, rate in enumerate(RATES, start=1):
        gradients = draw(seed, scale=0.2 * seed)
        norm, made = ours.step(gradients, rate)
        assert made
        expected = theirs.step(gradients, rate)
        assert norm == pytest.approx(expected, rel=1e-6)
        clipped.append(expected > 20.0)
    assert clipped == [False, False, True, True, True]
    weights, average = ours.weights(), ours.average()
    for name in SHAPES:
        np.testing.assert_allclose(weights[name], theirs.p[name], rtol=2e-6, atol=2e-7)
        np.testing.assert_allclose(average[name], theirs.e[name], rtol=2e-6, atol=2e-7)


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf, 1e30])
def test_a_gradient_that_is_not_finite_changes_no_bit(optimized, poison):
    optimized.step(draw(1), 1e-2)
    before = optimized.everything()
    gradients = draw(2)
    gradients["bias"][7] = poison
    _, made = optimized.step(gradients, 1e-2)
    assert not made
    for old, new in zip(before, optimized.everything(), strict=True):
        assert old.tobytes() == new.tobytes()


def test_a_loss_that_is_not_finite_changes_no_bit(optimized):
    before = optimized.everything()
    _, made = optimized.step(draw(3), 1e-2, is_finite=False)
    assert not made
    for old, new in zip(before, optimized.everything(), strict=True):
        assert old.tobytes() == new.tobytes()


def test_the_first_step_may_be_bad():
    ours = Optimized()
    theirs = Reference(draw(0), weight_decay=1e-1, max_norm=20.0, ema_decay=0.6)
    ours.step({**draw(1), "bias": np.full(50, np.nan, np.float32)}, 1e-2)
    ours.step(draw(2), 1e-2)
    theirs.step(draw(2), 1e-2)
    np.testing.assert_allclose(ours.weights()["weight"], theirs.p["weight"], rtol=2e-6, atol=2e-7)


def test_without_an_average_none_is_stored():
    assert len(Optimized(ema_decay=None).optimizer.average) == 0


def test_the_frameworks_operations_make_the_same_steps_as_the_native_operator(monkeypatch):
    native = Optimized()
    for module in ("hpc.train.optim", "hpc.train.zero"):
        monkeypatch.setattr(f"{module}.fused_or_none", lambda make: None)
    operations = Optimized()
    assert native.optimizer.fused is not None
    assert operations.optimizer.fused is None
    for seed, rate in enumerate(RATES, start=1):
        gradients = draw(seed, scale=0.2 * seed)
        if seed == 3:
            gradients["weight"][0, 0] = np.inf
        norms = [each.step(gradients, rate)[0] for each in (native, operations)]
        assert norms[0] == pytest.approx(norms[1], rel=1e-6)
    for one, other in zip(native.everything(), operations.everything(), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-6, atol=2e-7)


def test_building_the_optimizer_renames_no_weight():
    # MindSpore's pipeline has cloned gradients by those names before the optimizer is built.
    parameters = Optimized(bucket_bytes=4).parameters
    assert {name: p.name for name, p in parameters.items()} == {name: name for name in SHAPES}
