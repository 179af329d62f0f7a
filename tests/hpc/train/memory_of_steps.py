"""Print the bytes a weight that training steps keep beside the weights."""

import hpc  # noqa: F401  (prepares the environment before MindSpore is imported)

import mindspore as ms  # isort: skip
import numpy as np
import psutil
from mindspore import nn, ops

from hpc.train.step import train_step


class Network(nn.Cell):
    def __init__(self):
        super().__init__()
        self.layers = nn.CellList([nn.Dense(1024, 1024) for _ in range(16)])

    def construct(self, x):
        for layer in self.layers:
            x = ops.tanh(layer(x))
        return ops.mean(ops.square(x))


def main() -> None:
    ms.set_context(mode=ms.GRAPH_MODE)
    network = Network()
    parameters = {p.name: p for p in network.trainable_params()}
    before = psutil.Process().memory_info().rss
    step = train_step(
        network, parameters, bucket_bytes=4 << 20, weight_decay=0.01, max_norm=1.0, ema_decay=0.99
    )
    for _ in range(2):
        step(np.ones((2, 1024), np.float32), learning_rate=1e-3).read()
    kept = psutil.Process().memory_info().rss - before
    print(kept / sum(p.size for p in parameters.values()))


if __name__ == "__main__":
    main()
