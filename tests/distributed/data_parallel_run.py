"""Run by test_data_parallel.py, alone or under msrun: trains a small network for 20 steps."""

import sys
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from hpc.cluster.mesh import make_mesh
from hpc.cluster.runtime import start_runtime
from hpc.data.order import SampleOrder
from hpc.train.compile_cache import CompileCache
from hpc.train.step import train_step

STEPS, GLOBAL_BATCH, BAD_SAMPLE, VOTING_STEP = 20, 8, 17, 6


class Loss(nn.Cell):
    """Mean squared error of a network with two hidden layers. Shapes `[B, 5]`, `[B, 2]`."""

    def __init__(self):
        super().__init__()
        self.layers = nn.CellList([nn.Dense(5, 16), nn.Dense(16, 16), nn.Dense(16, 2)])
        self.norm = nn.LayerNorm([16], epsilon=1e-5)
        generator = np.random.default_rng(0)
        for parameter in self.trainable_params():
            value = 0.3 * generator.standard_normal(parameter.shape)
            parameter.set_data(ms.Tensor(value.astype(np.float32)))

    def construct(self, x, y):
        hidden = ops.tanh(self.layers[0](x))
        hidden = ops.tanh(self.layers[1](self.norm(hidden)))
        error = self.layers[2](hidden) - y
        return ops.square(error).mean(), ops.abs(error).mean()


def main(folder: Path, accumulation: int) -> None:
    with start_runtime(device="cpu") as runtime:
        place = runtime.place
        mesh = make_mesh(ranks=place.size, global_batch=GLOBAL_BATCH, accumulation=accumulation)
        data_rank, _ = mesh.coordinates(place.rank)
        loss = Loss().set_train()
        step = train_step(
            loss,
            {parameter.name: parameter for parameter in loss.trainable_params()},
            scalar_names=("absolute_error",),
            accumulation=accumulation,
            data_group=runtime.data_group(mesh),
            data_size=mesh.data,
            bucket_bytes=1000,
            weight_decay=1e-2,
            max_norm=1.0,
            ema_decay=0.9,
        )
        inputs = (np.zeros((GLOBAL_BATCH // mesh.data, n), np.float32) for n in (5, 2))
        if place.size > 1:
            cache = CompileCache(folder / "graphs", runtime=runtime, packages=[])
            step.compile(*inputs, compiler=cache.compile)
        generator = np.random.default_rng(1)
        x = generator.standard_normal((30, 5)).astype(np.float32)
        y = np.sin(x[:, :2] * 2)
        x[BAD_SAMPLE] = np.nan
        order = SampleOrder(num_samples=30, global_batch=GLOBAL_BATCH, seed=3)
        reports = []
        for number in range(STEPS):
            mine = order.rank_slice(number, data_rank=data_rank, data_size=mesh.data)
            vote = number == VOTING_STEP and runtime.place.rank == mesh.size - 1
            report = step(x[mine], y[mine], learning_rate=1e-2, stop_vote=vote)
            reports.append(list(report.read().values()))
        state = step.export()
        np.savez(
            folder / f"{place.size}_{place.rank}.npz",
            reports=reports,
            **{f"model/{name}": array for name, array in state.model.items()},
            **{f"ema/{name}": array for name, array in state.ema.items()},
            **state.optimizer,
        )


main(Path(sys.argv[1]), int(sys.argv[2]))
