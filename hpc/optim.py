"""AdamW, global-norm clipping and EMA as one Cell over buckets `[R, 1024]` (see hpc/flat.py)."""

import math
from collections.abc import Mapping

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from hpc.flat import FlatLayout, Pack, Unpack


class AdamW(nn.Cell):
    """Clip by the global norm, step AdamW, step the moving average; nothing if not finite.

    For a gradient g, scaled by min(1, max_norm / (|g| + 1e-6)) over all parameters:

        m += (1 - b1) (g - m),  v += (1 - b2) (g^2 - v)
        p  = p (1 - lr decay) - lr / (1 - b1^n) * m / (sqrt(v / (1 - b2^n)) + eps)
        e += (1 - min(ema_decay, (1 + n) / (10 + n))) (p - e)

    with n the number of updates made, this one included. Equal to torch.optim.AdamW after
    clip_grad_norm_. A step that is not finite changes none of p, m, v, e, n.

    Source: Loshchilov & Hutter 2019; MODEL section 4.4 for the average.
    """

    def __init__(
        self,
        parameters: Mapping[str, Parameter],
        layout: FlatLayout,
        *,
        weight_decay: float,
        max_norm: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        ema_decay: float | None = None,
    ):
        super().__init__(auto_prefix=False)
        self.layout = layout
        self.log_beta1, self.log_beta2 = math.log(betas[0]), math.log(betas[1])
        self.gain1, self.gain2 = 1 - betas[0], 1 - betas[1]
        self.weight_decay, self.max_norm, self.eps = weight_decay, max_norm, eps
        self.ema_decay = ema_decay
        self.network_parameters = ms.ParameterTuple(parameters.values())
        self.pack = Pack(layout)
        numbers = range(len(layout.buckets))
        self.unpack = nn.CellList([Unpack(layout, b, parameters) for b in numbers])
        values = layout.flatten({name: p.asnumpy() for name, p in parameters.items()})
        zeros = [np.zeros_like(bucket) for bucket in values]
        self.first_moment = _state("adamw.first_moment", zeros)
        self.second_moment = _state("adamw.second_moment", zeros)
        self.average = _state("ema", values if ema_decay is not None else [])
        self.updates = Parameter(Tensor(0.0, ms.float32), name="adamw.updates", requires_grad=False)

    def construct(self, gradients, learning_rate, is_finite):
        """Update the parameters from gradient buckets.

        Args:
            gradients: tuple of `[R, 1024]`, averaged over all samples.
            learning_rate: float32 scalar.
            is_finite: bool scalar; the gradients' own finiteness is looked at in any case.

        Returns:
            the gradients' norm before clipping and whether the update was made.
        """
        squares = ops.square(gradients[0]).sum(axis=1).sum()
        for gradient in gradients[1:]:
            squares = squares + ops.square(gradient).sum(axis=1).sum()
        norm = ops.sqrt(squares)
        is_finite = ops.logical_and(is_finite, ops.isfinite(norm))
        # A bad step multiplies every change by exactly 0 instead of branching: no host sync.
        on = ops.cast(is_finite, ms.float32)
        clip = ops.minimum(self.max_norm / (norm + 1e-6), ops.ones_like(norm))
        updates = self.updates + on
        counted = ops.maximum(updates, ops.ones_like(updates))
        correction1 = -ops.expm1(counted * self.log_beta1)
        correction2 = ops.sqrt(-ops.expm1(counted * self.log_beta2))
        shrink = 1.0 - on * learning_rate * self.weight_decay
        rate = on * learning_rate / correction1
        before = self.pack(self.network_parameters)
        for b in range(len(self.first_moment)):
            gradient = ops.select(is_finite, gradients[b] * clip, ops.zeros_like(gradients[b]))
            first = self.first_moment[b] + (on * self.gain1) * (gradient - self.first_moment[b])
            second = self.second_moment[b] + (on * self.gain2) * (
                ops.square(gradient) - self.second_moment[b]
            )
            after = before[b] * shrink - rate * (
                first / (ops.sqrt(second) / correction2 + self.eps)
            )
            ops.assign(self.first_moment[b], first)
            ops.assign(self.second_moment[b], second)
            self.unpack[b](after)
            if self.ema_decay is not None:
                decay = ops.minimum(
                    (1.0 + counted) / (10.0 + counted), ops.full_like(counted, self.ema_decay)
                )
                ops.assign(
                    self.average[b],
                    self.average[b] + on * (1.0 - decay) * (after - self.average[b]),
                )
        ops.assign(self.updates, updates)
        return norm, is_finite


def _state(name: str, buckets: list[np.ndarray]) -> ms.ParameterTuple:
    return ms.ParameterTuple(
        [
            Parameter(Tensor(bucket), name=f"{name}.{number}", requires_grad=False)
            for number, bucket in enumerate(buckets)
        ]
    )
