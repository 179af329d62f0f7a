"""Flow matching as a training objective: the same denoiser on straight paths."""

from mindspore import nn

from prediff.diffusion.diffusion_loss import DiffusionLoss
from prediff.diffusion.straight_path import StraightPath


class FlowMatchingLoss(DiffusionLoss):
    """Mean squared error of the velocity, noise - x_0, at x_s = (1 - s) x_0 + s noise.

    ``construct`` is that of :class:`DiffusionLoss`; step t stands for the time s = (t + 1) / n.

    Args:
        denoiser: Cell ``(noisy, step, condition, dropout_key) -> velocity``.
        path: the straight path.
        learn_logvar: as in :class:`DiffusionLoss`.

    Source: Lipman et al. 2023, eq. 23, with time running from data to noise.
    """

    def __init__(self, denoiser: nn.Cell, *, path: StraightPath, learn_logvar: bool = True):
        super().__init__(
            denoiser, schedule=path, parameterization="velocity", learn_logvar=learn_logvar
        )
