"""How fast this MindSpore's own CPU convolutions are: the measurement behind the version we pin.

    python -m profiling convolution-speed

Prints GFLOP/s of the framework's convolutions on two shapes of PreDiff, beside a matrix product
in the same process.
"""

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from profiling.timing import median_seconds


class Product(nn.Cell):
    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self.weight = ms.Parameter(ms.Tensor(np.ones((columns, columns), np.float32)))

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return ops.matmul(x, self.weight)


def main() -> None:
    ms.set_context(mode=ms.GRAPH_MODE)
    ms.set_device("CPU")
    random = np.random.default_rng(0)
    cases = [
        (
            "matrix product [3328,256]x[256,256]",
            Product(3328, 256),
            (3328, 256),
            2 * 3328 * 256**2,
        ),
        (
            "Conv3d 3x3x3, 256 channels, 4x16x16",
            nn.Conv3d(256, 256, 3, pad_mode="same"),
            (1, 256, 4, 16, 16),
            2 * 4 * 16 * 16 * 27 * 256**2,
        ),
        (
            "Conv2d 3x3, 128 channels, 64x64",
            nn.Conv2d(128, 128, 3, pad_mode="same"),
            (1, 128, 64, 64),
            2 * 64 * 64 * 9 * 128**2,
        ),
    ]
    print(f"MindSpore {ms.__version__}")
    for name, cell, shape, flops in cases:
        x = ms.Tensor(random.standard_normal(shape).astype(np.float32))
        seconds = median_seconds(cell, x, runs=3)
        print(f"{name}: {1e3 * seconds:.1f} ms, {flops / seconds / 1e9:.1f} GFLOP/s", flush=True)


if __name__ == "__main__":
    main()
