"""The CRPS objective against plain numpy."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn
from scipy.fft import dctn

from prediff.diffusion.crps_loss import CosineSpectrum, CrpsLoss, almost_fair_crps
from prediff.verification.crps import fair_crps

ALPHA, CALM = 0.95, 0.02
WEIGHTS = (1.0, 0.8, 0.5, 0.25, 0.1, 0.3)


class Fixed(nn.Cell):
    """Stands in for a network: its members are its noise."""

    def construct(self, context, extrapolation, minutes, noise):
        return noise


def members_and_truth(side=32):
    random = np.random.default_rng(4)
    members = random.random((3, 2, 2, side, side)).astype(np.float32)
    return members, random.random((3, 2, side, side)).astype(np.float32)


def oracle(members, truth):
    """The loss, written again with loops over scales and float64."""

    def almost_fair(a, b, y):
        e = (1 - ALPHA) / 2
        return (abs(a - y) + abs(b - y)) / 2 - (1 - e) / 2 * abs(a - b)

    def blocks(x, size, how):
        *lead, h, w = x.shape
        return how(x.reshape(*lead, h // size, size, w // size, size), axis=(-3, -1))

    views = [
        lambda x: x,
        lambda x: blocks(x, 4, np.mean),
        lambda x: blocks(x, 16, np.mean),
        lambda x: blocks(x, 4, np.max),
        lambda x: blocks(x, 16, np.max),
        lambda x: dctn(x, axes=(-2, -1), norm="ortho"),
    ]
    calm = np.sqrt((0.05 + CALM) / (truth.mean(axis=(1, 2, 3)) + CALM))
    total = 0.0
    for weight, view in zip(WEIGHTS, views, strict=True):
        a, b, y = (view(x.astype(np.float64)) for x in (members[:, 0], members[:, 1], truth))
        total += weight * (calm * almost_fair(a, b, y).mean(axis=(1, 2, 3))).mean()
    return total


def test_the_loss_equals_its_formula_on_every_scale():
    members, truth = members_and_truth()
    loss = CrpsLoss(Fixed(), size=32, alpha=ALPHA, weights=WEIGHTS, calm=CALM)
    nothing = ms.Tensor(np.zeros((3, 1), np.float32))
    found, _, distance = loss(nothing, nothing, nothing, ms.Tensor(members), ms.Tensor(truth))
    assert float(found) == pytest.approx(oracle(members, truth), rel=1e-5)
    assert float(distance) == pytest.approx(abs(members[:, 0] - members[:, 1]).mean(), rel=1e-5)


def test_with_alpha_one_it_is_the_fair_score_of_the_verification():
    members, truth = members_and_truth(8)
    found = almost_fair_crps(
        ms.Tensor(members[:, 0]), ms.Tensor(members[:, 1]), ms.Tensor(truth), alpha=1.0
    )
    expected = fair_crps(np.moveaxis(members, 1, 0), truth)
    np.testing.assert_allclose(found.asnumpy(), expected, atol=1e-6)


def test_the_cosine_spectrum_is_scipys():
    frames = members_and_truth(8)[1].reshape(-1, 8, 8)[:, :, :]
    found = CosineSpectrum(8, 8)(ms.Tensor(frames)).asnumpy()
    expected = dctn(frames, axes=(-2, -1), norm="ortho").transpose(0, 2, 1)
    np.testing.assert_allclose(found, expected, atol=1e-5)
