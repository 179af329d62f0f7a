"""Memory of a training step with and without shared optimizer state, measured and by formula.

    msrun --worker_num=2 --local_worker_num=2 --master_port=21960 --join=True --log_dir=/tmp/log \
        python -m profiling pipeline-memory --shard

Makes wide affine layers, which have next to no activations, and their training step, and prints
for each rank by how much its resident memory grew: with the step made (weights, moments and
average, which the formula of `prediff plan` holds), and after three steps, with the compiled graph
and all temporary arrays. One rank runs without msrun.
"""

import ctypes
import gc
from typing import Annotated

import numpy as np
import psutil
import typer

from hpc.environment import prepare_environment

prepare_environment()

from mindspore import nn, ops  # noqa: E402

from hpc.cluster.mesh import Mesh  # noqa: E402
from hpc.cluster.runtime import start_runtime  # noqa: E402
from hpc.train.step import train_step  # noqa: E402
from hpc.train.zero import shard_over_data  # noqa: E402
from prediff.planning.plan import state_bytes  # noqa: E402

WIDTH, MEGA = 1024, 1e6


class Loss(nn.Cell):
    """Mean square of what a chain of affine layers makes of `[B, 1024]`."""

    def __init__(self, layers: int):
        super().__init__()
        self.layers = nn.CellList([nn.Dense(WIDTH, WIDTH) for _ in range(layers)])

    def construct(self, x):
        for layer in self.layers:
            x = ops.tanh(layer(x))
        return ops.square(x).mean()


def _megabytes(ranks: list[int]) -> str:
    return ", ".join(f"{rank / MEGA:.0f}" for rank in ranks)


def main(
    *,
    shard: Annotated[bool, typer.Option("--shard", help="ZeRO-1")] = False,
    layers: Annotated[int, typer.Option(help="of 1.05 million parameters each")] = 16,
) -> None:
    with start_runtime(device="cpu") as runtime:
        mesh = Mesh(data=runtime.place.size)
        rows = np.ones((1, WIDTH), np.float32)
        warm_up = ops.square(ops.ones((1, WIDTH))).mean()  # the backend's own memory
        warm_up.asnumpy()
        process = psutil.Process()
        before = process.memory_info().rss
        loss = Loss(layers).set_train()
        step = train_step(
            loss,
            {parameter.name: parameter for parameter in loss.trainable_params()},
            data_group=runtime.data_group(mesh),
            data_size=mesh.data,
            shard=shard_over_data(runtime, mesh) if shard and mesh.data > 1 else None,
            weight_decay=0.0,
            max_norm=1.0,
            ema_decay=0.9,
        )
        gc.collect()
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # what was freed and is still held
        made = runtime.all_gather_object(process.memory_info().rss - before)
        for _ in range(3):
            step(rows, learning_rate=1e-3).read()
        used = runtime.all_gather_object(process.memory_info().rss - before)
        if runtime.is_first:
            count = sum(parameter.size for parameter in loss.trainable_params())
            sharing = mesh.data if shard else 1
            kept = state_bytes(count, sharing=sharing) - 4 * count  # no gradient yet
            print(
                f"{mesh.data} ranks, {count / MEGA:.1f} M parameters, state "
                f"{'shared out' if shard else 'on each'}: made {_megabytes(made)} MB, "
                f"formula {kept / MEGA:.0f} MB; after three steps {_megabytes(used)} MB"
            )
