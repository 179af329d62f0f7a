"""The training loss of the denoiser, for diffusion and for flow matching.

B batch, T time, H, W space, C channel; n time steps.
"""

import mindspore as ms
import numpy as np
from mindspore import Parameter, nn, ops

from hpc.errors import UserError
from prediff.diffusion.noise_schedule import NoiseSchedule
from prediff.diffusion.parameterization import ForwardProcess, clean_weights, target_weights
from prediff.diffusion.straight_path import StraightPath
from prediff.diffusion.tables import at_step, float_tensor


def vlb_weights(*, schedule: NoiseSchedule, parameterization: str) -> np.ndarray:
    """Return the weight ``[n]`` of the squared prediction error in the variational bound.

    An error of the prediction is an error in x_0 times what the prediction weighs in x_0, so the
    weights of ``eps`` give all the others. Entry 0, infinite for ``eps``, is entry 1.
    """
    _, of_eps = clean_weights(path=schedule, parameterization="eps")
    _, of_prediction = clean_weights(path=schedule, parameterization=parameterization)
    weights = schedule.lvlb_weights * (of_prediction / of_eps) ** 2
    weights[0] = weights[1]
    return weights


def weighted_losses(
    prediction: ms.Tensor,
    target: ms.Tensor,
    step: ms.Tensor,
    log_variance: ms.Tensor,
    bound_weights: ms.Tensor,
    bound_factor: float,
) -> tuple[ms.Tensor, ms.Tensor, ms.Tensor]:
    """Return (loss, mean squared error, variational term) of a batch. Usable in graphs.

    With l_n the mean squared error of sample n, loss = mean(l_n / exp(s_t) + s_t)
    + bound_factor * mean(w_t l_n) (MODEL 4.3; latent diffusion's learned log-variance).

    Args:
        prediction, target: ``[B, ...]``.
        step: int ``[B]``.
        log_variance: s, ``[n]``.
        bound_weights: w, ``[n]``.
    """
    error = prediction.astype(ms.float32) - target
    per_sample = ops.mean(ops.square(error).reshape((error.shape[0], -1)), 1)
    uncertainty = ops.gather(log_variance, step, 0)
    bound = ops.mean(ops.gather(bound_weights, step, 0) * per_sample)
    loss = ops.mean(per_sample * ops.exp(-uncertainty) + uncertainty) + bound_factor * bound
    return loss, ops.mean(per_sample), bound


class DiffusionLoss(nn.Cell):
    """Denoiser and loss in one Cell, for one compiled training graph.

    Args:
        denoiser: Cell ``(noisy, step, condition, dropout_key) -> prediction``.
        schedule: a noise schedule, or the straight path of flow matching.
        parameterization: what the denoiser predicts.
        learn_logvar: train the vector s of log-variances, one number a time step, which weighs
            the steps by how well they can be predicted. It is the parameter ``logvar``, zeros at
            first, and has to reach the optimizer.
        vlb_weight: factor of the variational term.

    Raises:
        UserError: the parameterization means nothing on this path, or a variational term is
            asked for on the straight path, which has none.

    Source: PreDiff, section 3.1; Rombach et al. 2022 (the learned log-variance); MODEL 4.3.
    """

    SCALARS = ("loss_simple", "loss_vlb")
    """Names of what ``construct`` returns after the loss."""

    def __init__(
        self,
        denoiser: nn.Cell,
        *,
        schedule: ForwardProcess,
        parameterization: str = "eps",
        learn_logvar: bool = True,
        vlb_weight: float = 0.0,
    ):
        super().__init__()
        if vlb_weight and isinstance(schedule, StraightPath):
            raise UserError("flow matching has no variational term: set vlb_weight to 0")
        self.denoiser = denoiser
        self.signal = float_tensor(schedule.signal)
        self.noise_level = float_tensor(schedule.noise_level)
        of_clean, of_noise = target_weights(path=schedule, parameterization=parameterization)
        self.target_of_clean = float_tensor(of_clean)
        self.target_of_noise = float_tensor(of_noise)
        zeros = float_tensor(np.zeros(schedule.num_steps))
        self.logvar = Parameter(zeros, name="logvar", requires_grad=learn_logvar)
        self.bound_weights = bound_weights(schedule, parameterization)
        self.vlb_weight = vlb_weight

    def construct(self, clean, noise, step, condition, dropout_key=None, condition_keep=None):
        """Return (loss, mean squared error, variational term), three scalars.

        Args:
            clean: x_0, the latents to learn, ``[B, T, H, W, C]``.
            noise: unit normals, the shape of ``clean``.
            step: time step of each sample, int32 ``[B]``.
            condition: latents of the context, ``[B, T_in, H, W, C]``.
            dropout_key: int32 ``[B]``, or None for no dropout.
            condition_keep: 1 or 0 a sample, float32 ``[B]``: 0 hides the condition, which is what
                classifier-free guidance is trained with. None keeps all.
        """
        if condition_keep is not None:
            condition = condition * condition_keep.reshape((-1,) + (1,) * (condition.ndim - 1))
        noisy = (
            at_step(self.signal, step, clean) * clean
            + at_step(self.noise_level, step, clean) * noise
        )
        target = (
            at_step(self.target_of_clean, step, clean) * clean
            + at_step(self.target_of_noise, step, clean) * noise
        )
        prediction = self.denoiser(noisy, step, condition, dropout_key)
        return weighted_losses(
            prediction, target, step, self.logvar, self.bound_weights, self.vlb_weight
        )


def bound_weights(schedule: ForwardProcess, parameterization: str) -> ms.Tensor:
    """Return the weights of the variational term, ``[n]``; zeros on the straight path."""
    if isinstance(schedule, StraightPath):
        return float_tensor(np.zeros(schedule.num_steps))
    return float_tensor(vlb_weights(schedule=schedule, parameterization=parameterization))
