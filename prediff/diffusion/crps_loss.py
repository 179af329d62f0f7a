"""Almost-fair CRPS between members of one pass, on several scales.

Letters: B window, M member, T frame, H, W pixels. Frames are VIL / 255.

Sources: almost-fair CRPS, Lang et al. 2024 (AIFS-CRPS), eq. 4; fair CRPS, Ferro 2014; a spectral
term of this kind, Bonev et al. 2025 (FourCastNet 3); cosine spectra of limited areas, Denis et al.
2002.
"""

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

SCALARS = ("crps", "spread")
"""Names of what `CrpsLoss` returns after the loss."""


def almost_fair_crps(first, second, truth, *, alpha: float):
    """Return the almost-fair CRPS of two members, element by element.

    ``(|a - y| + |b - y|) / 2 - (1 - e) |a - b| / 2`` with ``e = (1 - alpha) / 2``: alpha 1 is fair,
    and less keeps one member at the truth from setting the other free.
    """
    error = ops.abs(first - truth) + ops.abs(second - truth)
    return 0.5 * error - 0.5 * (1.0 - 0.5 * (1.0 - alpha)) * ops.abs(first - second)


def cosine_matrix(size: int) -> np.ndarray:
    """Return the orthonormal DCT-II ``[size, size]`` float32, a wave a row."""
    wave, place = np.arange(size)[:, None], np.arange(size)[None, :]
    matrix = np.sqrt(2.0 / size) * np.cos(np.pi * wave * (2 * place + 1) / (2 * size))
    matrix[0] /= np.sqrt(2.0)
    return matrix.astype(np.float32)


class CosineSpectrum(nn.Cell):
    """The two-dimensional DCT of frames ``[N, H, W]``, as two matrix products."""

    def __init__(self, height: int, width: int):
        super().__init__()
        self.height, self.width = height, width
        self.rows, self.columns = Tensor(cosine_matrix(height)), Tensor(cosine_matrix(width))
        self.product = ops.MatMul(transpose_b=True)

    def construct(self, frames):
        x = self.product(frames.reshape(-1, self.width), self.columns)
        x = x.reshape(-1, self.height, self.width).transpose(0, 2, 1)
        x = self.product(x.reshape(-1, self.height), self.rows)
        return x.reshape(-1, self.width, self.height)


class CrpsLoss(nn.Cell):
    """Network and loss in one Cell, for one compiled training graph.

    The loss is the sum of almost-fair CRPS of pixels, of means and maxima of blocks of 4 and 16
    pixels, and of the coefficients of a cosine transform, each averaged over all that it counts.

    Args:
        network: Cell ``(context, extrapolation, minutes, noise) -> members``, two of them.
        size: pixels a side of a frame.
        alpha: of the almost-fair CRPS.
        weights: of pixels, means of 4, means of 16, maxima of 4, maxima of 16, and the spectrum.
        calm: a window of mean m counts ``sqrt((REFERENCE + calm) / (m + calm))``, so that one heavy
            window does not outweigh many calm ones.
    """

    REFERENCE = 0.05
    """The mean VIL / 255 of a window that counts 1."""

    def __init__(
        self,
        network: nn.Cell,
        *,
        size: int,
        alpha: float = 0.95,
        weights: tuple[float, ...] = (1.0, 1.0, 0.5, 0.25, 0.1, 0.1),
        calm: float = 0.02,
    ):
        super().__init__()
        assert len(weights) == 6, weights
        self.network = network
        self.alpha, self.weights, self.calm = alpha, tuple(weights), calm
        self.spectrum = CosineSpectrum(size, size)
        self.mean4, self.max4 = nn.AvgPool2d(4, 4), nn.MaxPool2d(4, 4)

    def construct(self, context, extrapolation, minutes, noise, target):
        """Return (loss, CRPS of the pixels, mean distance of the two members), three scalars.

        Args:
            context, extrapolation, minutes: as the network takes them.
            noise: ``[B, 2, numbers]``.
            target: what came, ``[B, T, H, W]``.
        """
        members = self.network(context, extrapolation, minutes, noise)
        first, second = members[:, 0], members[:, 1]
        mean = ops.mean(target, (1, 2, 3))
        calm = ops.sqrt((self.REFERENCE + self.calm) / (mean + self.calm))
        pixels = self._mean(first, second, target)
        loss = self.weights[0] * ops.mean(calm * pixels)
        a4, b4, y4 = self.mean4(first), self.mean4(second), self.mean4(target)
        loss = loss + self.weights[1] * ops.mean(calm * self._mean(a4, b4, y4))
        a16, b16, y16 = self.mean4(a4), self.mean4(b4), self.mean4(y4)
        loss = loss + self.weights[2] * ops.mean(calm * self._mean(a16, b16, y16))
        a4, b4, y4 = self.max4(first), self.max4(second), self.max4(target)
        loss = loss + self.weights[3] * ops.mean(calm * self._mean(a4, b4, y4))
        a16, b16, y16 = self.max4(a4), self.max4(b4), self.max4(y4)
        loss = loss + self.weights[4] * ops.mean(calm * self._mean(a16, b16, y16))
        if self.weights[5] > 0:
            waves = self._mean(self._waves(first), self._waves(second), self._waves(target))
            loss = loss + self.weights[5] * ops.mean(calm * waves)
        return loss, ops.mean(pixels), ops.mean(ops.abs(first - second))

    def _waves(self, frames):
        batch, time, height, width = frames.shape
        return self.spectrum(frames.reshape(-1, height, width)).reshape(batch, time, width, height)

    def _mean(self, first, second, truth):
        """Return the mean CRPS of each window, ``[B]``."""
        crps = almost_fair_crps(first, second, truth, alpha=self.alpha)
        return ops.mean(crps.astype(ms.float32), (1, 2, 3))
