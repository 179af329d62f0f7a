"""Denoisers small enough to compute by hand."""

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from prediff.diffusion.tables import at_step, float_tensor


class ToyDenoiser(nn.Cell):
    """``sampler_oracle.ideal`` as a network that predicts eps, x0, v or the velocity."""

    def __init__(self, path, parameterization: str):
        super().__init__()
        signal, level = path.signal, path.noise_level
        of_noisy, of_clean = {
            "eps": (1 / level, -signal / level),
            "x0": (0 * level, 1 + 0 * level),
            "v": (signal / level, -1 / level),
            "velocity": (1 / level, -1 / level),
        }[parameterization]
        self.of_noisy, self.of_clean = float_tensor(of_noisy), float_tensor(of_clean)

    def construct(self, noisy, step, condition):
        mixed = (
            0.7 * noisy
            + 0.3 * noisy.mean(axis=-1, keep_dims=True)
            + condition.mean(axis=1, keep_dims=True)
        )
        strength = 0.5 + step.astype(ms.float32).reshape((-1, 1, 1, 1, 1)) / 2000
        clean = ops.tanh(mixed) * strength
        return (
            at_step(self.of_noisy, step, noisy) * noisy
            + at_step(self.of_clean, step, noisy) * clean
        )


class GaussianDenoiser(nn.Cell):
    """The best prediction for data from N(mean, deviation^2), as eps or as the velocity."""

    def __init__(self, path, parameterization: str, *, mean: float, deviation: float):
        super().__init__()
        signal, level = path.signal, path.noise_level
        gain = signal * deviation**2 / (signal**2 * deviation**2 + level**2)
        constant = mean * (1 - gain * signal)
        if parameterization == "eps":
            gain, constant = 1 - signal * gain, -signal * constant
        else:
            gain, constant = 1 - gain, -constant
        self.gain, self.constant = float_tensor(gain / level), float_tensor(constant / level)

    def construct(self, noisy, step, condition):
        return at_step(self.gain, step, noisy) * noisy + at_step(self.constant, step, noisy)


class ToyAlignment(nn.Cell):
    """A mean intensity that any latent can change: [B, T, 1]."""

    def __init__(self, channels: int):
        super().__init__()
        weight = np.linspace(-1, 1.5, channels).astype(np.float32)
        self.weight = ms.Tensor(weight)

    def construct(self, noisy, step):
        scaled = (noisy * self.weight).mean(axis=-1).mean(axis=(2, 3))
        strength = 1 + step.astype(ms.float32).reshape((-1, 1)) / 1000
        return (ops.sin(scaled) * strength).expand_dims(-1)
