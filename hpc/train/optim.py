"""AdamW, global-norm clipping and EMA as one Cell over buckets `[R, 1024]` (see `buckets`)."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from hpc.ops.fused import fused_or_none
from hpc.ops.native.adamw import NativeAdamWStep
from hpc.train.buckets import FlatLayout, FlattenBucket, Unflatten
from hpc.train.zero import AllGather, OptimizerShard, OwnRows, SumOfSquares


class AdamW(nn.Cell):
    """Clip by the global norm, step AdamW, step the moving average; nothing if not finite.

    For a gradient g, scaled by min(1, max_norm / (|g| + 1e-6)) over all parameters:

        m += (1 - b1) (g - m),  v += (1 - b2) (g^2 - v)
        p  = p (1 - lr decay) - lr / (1 - b1^n) * m / (sqrt(v / (1 - b2^n)) + eps)
        e += (1 - min(ema_decay, (1 + n) / (10 + n))) (p - e)

    with n the number of updates made, this one included. Equal to torch.optim.AdamW after
    clip_grad_norm_. A step that is not finite changes none of p, m, v, e, n.

    With a shard of d data ranks, moments and average are this rank's rows `[R/d, 1024]` only.

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
        shard: OptimizerShard | None = None,
    ):
        super().__init__(auto_prefix=False)
        self.layout, self.shard = layout, shard or OptimizerShard()
        self.log_beta1, self.log_beta2 = math.log(betas[0]), math.log(betas[1])
        self.gain1, self.gain2 = 1 - betas[0], 1 - betas[1]
        self.weight_decay, self.max_norm, self.eps = weight_decay, max_norm, eps
        self.ema_decay = ema_decay
        self.names = tuple(parameters)
        self.network_parameters = ms.ParameterTuple(parameters.values())
        numbers = range(len(layout.buckets))
        self.pack = nn.CellList([FlattenBucket(layout, b) for b in numbers], auto_prefix=False)
        # No prefix: MindSpore's pipeline has cloned gradients by the names that weights have now.
        unflatten = [Unflatten(layout, b, parameters) for b in numbers]
        self.unpack = nn.CellList(unflatten, auto_prefix=False)
        self.own_rows, self.whole_rows = OwnRows(self.shard), AllGather(self.shard)
        self.is_shared_out = self.shard.size > 1
        self.sum_of_squares = SumOfSquares()
        self.fused: Any = None if self.is_shared_out else fused_or_none(self._fused_steps)
        values = self._own({name: p.asnumpy() for name, p in parameters.items()})
        zeros = [np.zeros_like(bucket) for bucket in values]
        self.first_moment = _state("adamw.first_moment", zeros)
        self.second_moment = _state("adamw.second_moment", zeros)
        self.average = _state("ema", values if ema_decay is not None else [])
        self.updates = Parameter(Tensor(0.0, ms.float32), name="adamw.updates", requires_grad=False)

    def export(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Copy (moments and number of updates, average) to the host, by canonical names.

        With a shard all of its ranks call it together.
        """
        moments = {
            f"{moment}/{name}": array
            for moment, state in self._moments()
            for name, array in self._named(state).items()
        }
        moments["updates"] = np.array(self.updates.asnumpy(), np.float32)
        return moments, self.export_average()

    def export_average(self) -> dict[str, np.ndarray]:
        """Copy the moving average to the host; empty when none is kept. See `export`."""
        return {} if self.ema_decay is None else self._named(self.average)

    def load(self, moments: Mapping[str, np.ndarray], average: Mapping[str, np.ndarray]) -> None:
        """Take over a state that `export` made, of these parameters or more, on any ranks."""
        for moment, state in self._moments():
            set_arrays(state, self._own({name: moments[f"{moment}/{name}"] for name in self.names}))
        set_arrays([self.updates], [moments["updates"]])
        if self.ema_decay is not None:
            set_arrays(self.average, self._own({name: average[name] for name in self.names}))

    def _fused_steps(self) -> nn.CellList:
        has_average = self.ema_decay is not None
        return nn.CellList(
            [
                NativeAdamWStep(weights=len(names), has_average=has_average)
                for names in self.layout.buckets
            ]
        )

    def _moments(self):
        return ("first_moment", self.first_moment), ("second_moment", self.second_moment)

    def _named(self, state) -> dict[str, np.ndarray]:
        copies = [np.array(bucket.asnumpy()) for bucket in state]
        return self.layout.unflatten(self.shard.whole(copies))

    def _own(self, arrays: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        return [self.shard.own_rows(bucket) for bucket in self.layout.flatten(arrays)]

    def construct(self, gradients, learning_rate, is_finite, norm=None, share=1.0):
        """Update the parameters from gradient buckets.

        Args:
            gradients: tuple of `[R, 1024]`, with a shard `[R/d, 1024]`; times `share` they are the
                means over all samples.
            learning_rate: float32 scalar.
            is_finite: bool scalar; the norm's own finiteness is looked at in any case.
            norm: of the whole network's mean gradient, where these are not all of it.
            share: see gradients.

        Returns:
            the mean gradient's norm before clipping and whether the update was made.
        """
        if norm is None:
            norm = ops.sqrt(self.sum_of_squares(gradients)) * share
        is_finite = ops.logical_and(is_finite, ops.isfinite(norm))
        # A bad step multiplies every change by exactly 0 instead of branching: no host sync.
        on = ops.cast(is_finite, ms.float32)
        clip = ops.minimum(self.max_norm / (norm + 1e-6), ops.ones_like(norm)) * share
        updates = self.updates + on
        counted = ops.maximum(updates, ops.ones_like(updates))
        correction1 = -ops.expm1(counted * self.log_beta1)
        unbiased = ops.rsqrt(-ops.expm1(counted * self.log_beta2))
        shrink = 1.0 - on * learning_rate * self.weight_decay
        rate = on * learning_rate / correction1
        decay = (1.0 + counted) / (10.0 + counted)
        decay = ops.minimum(decay, ops.full_like(counted, self.ema_decay or 0.0))
        average_gain = on * (1.0 - decay)
        if self.fused is not None:
            factors = (on, clip, self.gain1, self.gain2, unbiased, self.eps, shrink, rate)
            done = self._step_in_place(gradients, (*factors, average_gain), norm)
            ops.assign(self.updates, updates)
            return ops.depend(norm, done), ops.depend(is_finite, done)
        done = norm
        for b in range(len(self.first_moment)):
            # One bucket after the other: all at once, the intermediate results of all would be in
            # memory together, and messages of a group might overtake each other.
            weights = self.own_rows(self.pack[b](self.network_parameters, done))
            # Select would compile a constant as large as the bucket, several times over.
            gradient = ops.nan_to_num(ops.depend(gradients[b], done) * clip, 0.0, 0.0, 0.0)
            first = self.first_moment[b] + (on * self.gain1) * (gradient - self.first_moment[b])
            second = self.second_moment[b] + (on * self.gain2) * (
                ops.square(gradient) - self.second_moment[b]
            )
            # Division keeps 16 bytes an element on the CPU for as long as the graph lives.
            root = ops.sqrt(second) * unbiased + self.eps
            after = weights * shrink - rate * (first * ops.reciprocal(root))
            ops.assign(self.first_moment[b], first)
            ops.assign(self.second_moment[b], second)
            done = self.whole_rows(after) if self.is_shared_out else after
            done = self.unpack[b](done)
            if self.ema_decay is not None:
                moved = self.average[b] + average_gain * (after - self.average[b])
                done = ops.depend(done, ops.assign(self.average[b], moved))
        ops.assign(self.updates, updates)
        return norm, is_finite

    def _step_in_place(self, gradients, factors, done):
        numbers = ops.concat([ops.reshape(ops.cast(f, ms.float32), (1,)) for f in factors])
        for b in range(len(self.first_moment)):
            average = numbers if self.ema_decay is None else self.average[b]
            state = (self.first_moment[b], self.second_moment[b], average)
            done = self.fused[b](gradients[b], *state, numbers, done, *self.unpack[b].targets)
        return done


def _state(name: str, buckets: list[np.ndarray]) -> ms.ParameterTuple:
    return ms.ParameterTuple(
        [
            Parameter(Tensor(bucket), name=f"{name}.{number}", requires_grad=False)
            for number, bucket in enumerate(buckets)
        ]
    )


def set_arrays(targets: Iterable[Parameter], arrays: Iterable[np.ndarray]) -> None:
    """Overwrite parameters by arrays of their shapes."""
    for target, array in zip(targets, arrays, strict=True):
        assert target.shape == array.shape, f"{target.name}: {target.shape} is not {array.shape}"
        target.set_data(Tensor(np.asarray(array, np.float32, order="C")))
