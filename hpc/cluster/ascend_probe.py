"""Ask the NPU a few questions whose answers are known; run by `hpc.cluster.ascend_host`.

    python -m hpc.cluster.ascend_probe

Prints a line for each question: pass or FAIL, the question, the answer, between tabs.
"""

import sys
import time

import numpy as np

LOOSE = 2e-3
"""Relative to the largest value: the cube unit may round float32 factors to 19 bits (HF32)."""


def main() -> None:
    import mindspore as ms
    from mindspore import Tensor, nn, ops

    class Work(nn.Cell):
        """The mean of tanh(x w)^2: a product, a nonlinearity and a sum, with a known gradient."""

        def __init__(self, weights: np.ndarray) -> None:
            super().__init__()
            self.weights = Tensor(weights)

        def construct(self, x: Tensor) -> Tensor:
            return ops.tanh(ops.matmul(x, self.weights)).square().mean()

    started = time.monotonic()
    ms.set_context(mode=ms.GRAPH_MODE)
    ms.set_device("Ascend")
    random = np.random.default_rng(0)
    x = random.standard_normal((8, 16)).astype(np.float32)
    weights = 0.3 * random.standard_normal((16, 16)).astype(np.float32)
    found = ops.GradOperation(get_all=True)(Work(weights))(Tensor(x))[0].asnumpy()
    y = np.tanh(x @ weights)
    expected = 2 / y.size * (y * (1 - y * y)) @ weights.T
    apart = float(abs(found - expected).max() / abs(expected).max())
    _say("gradient on the device", apart < LOOSE, f"{apart:.1e} from the host's")
    _say("first answer", True, f"after {time.monotonic() - started:.0f} s, compiling included")


def _say(question: str, is_good: bool, text: str) -> None:
    print(f"{'pass' if is_good else 'FAIL'}\t{question}\t{text}", flush=True)
    if not is_good:
        sys.exit(1)


if __name__ == "__main__":
    main()
