"""What tells the networks where (learned position tables) and when (diffusion step) they are.

Shapes: B batch; T, H, W grid; C channel; E width of the time vector (4 x base width).

Reference names: ``{T,H,W}_embed.weight`` -> `time`, `height`, `width`; ``layer.0``, ``layer.2`` ->
`linear_1`, `linear_2`.
"""

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from hpc.errors import UserError
from hpc.ops.activation import silu
from hpc.ops.bias import AddBias
from hpc.ops.cuboid_attention.geometry import Axes
from hpc.ops.initialization import GeneratorOf, table_values
from hpc.ops.linear import Linear
from hpc.ops.padding import pad_with_zeros

MAX_PERIOD = 10_000.0


class PositionEmbedding(nn.Cell):
    """Add three learned tables: ``x[b,t,h,w] + time[t] + height[h] + width[w]``.

    Args:
        grid: (T, H, W), the rows of the tables.
        dim: C.
    """

    def __init__(self, *, grid: Axes, dim: int):
        super().__init__()
        time, height, width = (Tensor(np.zeros((rows, dim), np.float32)) for rows in grid)
        self.time = Parameter(time, name="time")
        self.height = Parameter(height, name="height")
        self.width = Parameter(width, name="width")
        self.add_place = AddBias()

    def initial_values(self, generator_of: GeneratorOf) -> dict[str, np.ndarray]:
        """Return the starting tables."""
        return {
            name: table_values(getattr(self, name).shape, generator=generator_of(name))
            for name in ("time", "height", "width")
        }

    def construct(self, x):
        place = self.height.expand_dims(1) + self.width
        place = self.time.expand_dims(1).expand_dims(1) + place
        return self.add_place(x.reshape(x.shape[0], -1), place.reshape(-1)).reshape(x.shape)


class TimestepEmbedding(nn.Cell):
    """Sinusoids of the diffusion step: `[B] -> [B, dim]` float32, cosines first.

    Frequencies are 10000**(-k/half), k = 0..half-1, half = dim//2; an odd dim ends with a zero.
    Source: MODEL.md section 2.2; Vaswani et al. 2017 with the halves exchanged.
    """

    def __init__(self, dim: int):
        super().__init__()
        half = dim // 2
        # Exponents in float32 as the reference has them, their exponential correctly rounded.
        exponents = np.float32(-np.log(MAX_PERIOD)) * np.arange(half, dtype=np.float32)
        frequencies = np.exp((exponents / np.float32(half)).astype(np.float64))
        self.frequencies = Tensor(frequencies.astype(np.float32))
        self.is_odd = dim % 2 == 1

    def construct(self, step):
        angles = step.astype(ms.float32).expand_dims(1) * self.frequencies
        waves = ops.concat((ops.cos(angles), ops.sin(angles)), 1)
        return pad_with_zeros(waves, ((0, 0), (0, 1))) if self.is_odd else waves


class TimeEmbedding(nn.Cell):
    """The time vector of a step: sinusoids, Linear, SiLU, Linear: `[B] -> [B, E]`, float32.

    Args:
        dim: width of the sinusoids, the network's base width.
        out_dim: E.
    """

    def __init__(self, *, dim: int, out_dim: int):
        super().__init__()
        if dim < 2:
            raise UserError(f"time embedding: width {dim} must be at least 2")
        self.sinusoids = TimestepEmbedding(dim)
        self.linear_1 = Linear(dim, out_dim, initial="uniform")
        self.linear_2 = Linear(out_dim, out_dim, initial="uniform")

    def construct(self, step):
        return self.linear_2(silu(self.linear_1(self.sinusoids(step))))
