"""Compare the installed Ascend operator with the reference, and time it. Not yet run on silicon.

    source <install folder>/prediff_env.sh
    python -m hpc.ops.cuboid_attention.check_ascend

Prints a table of errors and times on PreDiff's shapes; exits with 1 where an error is too large.
`ops.flash_attention_score` is timed on tensors that were already reordered, without bias: what is
saved is the reordering, the bias and the softmax, so compare it with the fused operator's whole
time and with the reference composition's.
"""

import sys
import time

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from hpc.ops.cuboid_attention.geometry import CuboidGeometry, cuboid_geometry
from hpc.ops.cuboid_attention.op import CuboidAttention

SHAPES = [
    ("level 0, time", (13, 16, 16), (13, 1, 1), 4, 64),
    ("level 0, height", (13, 16, 16), (1, 16, 1), 4, 64),
    ("level 0, width", (13, 16, 16), (1, 1, 16), 4, 64),
    ("level 1, time", (13, 8, 8), (13, 1, 1), 4, 128),
    ("level 1, height", (13, 8, 8), (1, 8, 1), 4, 128),
]
TOLERANCE = {ms.float16: 4e-3, ms.bfloat16: 2e-2, ms.float32: 2e-5}
REPEATS = 50


class WithGradient(nn.Cell):
    """``construct(qkv, table, dout) -> (dqkv, dtable)`` of an attention Cell."""

    def __init__(self, attention: nn.Cell):
        super().__init__()
        self.gradient = ops.GradOperation(get_all=True, sens_param=True)
        self.attention = attention

    def construct(self, qkv, table, dout):
        return self.gradient(self.attention)(qkv, table, dout)


def median_microseconds(cell: nn.Cell, *arguments: Tensor) -> float:
    """Return the median time of a call, after a warm-up, waiting for the device each time."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        cell(*arguments)
        ms.runtime.synchronize()
        times.append(time.perf_counter() - start)
    return 1e6 * float(np.median(times[REPEATS // 5 :]))


def flash_microseconds(geometry: CuboidGeometry, batch: int, heads: int, width: int) -> float:
    """Return the time of ops.flash_attention_score on sequences that lie contiguous already."""
    shape = (batch * geometry.cuboids, geometry.volume, heads * width)
    operands = [Tensor(np.random.randn(*shape).astype(np.float16)) for _ in range(3)]

    class Flash(nn.Cell):
        def construct(self, q, k, v):
            return ops.flash_attention_score(
                q, k, v, heads, scalar_value=width**-0.5, input_layout="BSH"
            )

    return median_microseconds(Flash(), *operands)


def main() -> int:
    ms.set_context(mode=ms.GRAPH_MODE)
    ms.set_device("Ascend")
    rng, failed = np.random.default_rng(0), False
    for name, data, cuboid, heads, width in SHAPES:
        geometry = cuboid_geometry(data=data, cuboid_size=cuboid)
        for batch in (1, 4, 16):
            for dtype, tolerance in TOLERANCE.items():
                qkv = Tensor(rng.normal(size=(batch, *data, 3, heads, width)), dtype)
                table = Tensor(rng.normal(size=(2 * geometry.volume - 1, heads)).astype(np.float32))
                dout = Tensor(rng.normal(size=(batch, *data, heads * width)), dtype)
                results, times = {}, {}
                for backend in ("ascend", "reference"):
                    cell = CuboidAttention(geometry, heads=heads, width=width, backend=backend)
                    if cell.backend != backend:
                        print("the operator is not installed: run build_ascend.sh first")
                        return 2
                    gradient = WithGradient(cell)
                    results[backend] = [cell(qkv, table), *gradient(qkv, table, dout)]
                    times[backend] = (
                        median_microseconds(cell, qkv, table),
                        median_microseconds(gradient, qkv, table, dout),
                    )
                errors = []
                for fused, plain in zip(results["ascend"], results["reference"], strict=True):
                    expected = plain.astype(ms.float32).asnumpy()
                    error = np.abs(fused.astype(ms.float32).asnumpy() - expected).max()
                    errors.append(error / max(1.0, np.abs(expected).max()))
                failed = failed or max(errors) > tolerance
                flash = flash_microseconds(geometry, batch, heads, width)
                print(
                    f"{name}, batch {batch}, {dtype}: errors "
                    + " ".join(f"{error:.1e}" for error in errors)
                    + f" (limit {tolerance:.0e}); us forward {times['ascend'][0]:.0f}, "
                    f"reference {times['reference'][0]:.0f}, flash {flash:.0f}; "
                    f"gradient {times['ascend'][1]:.0f}, reference {times['reference'][1]:.0f}",
                    flush=True,
                )
    print("FAILED" if failed else "passed")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
