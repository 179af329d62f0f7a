"""A compiled step of a small network, and its profile: what the tests of the report slow down."""

from collections.abc import Callable
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from hpc.cluster.runtime import Runtime
from hpc.ops.normalization import LayerNorm
from hpc.train.step import TrainStep, train_step
from prediff.profiler.bottlenecks import find_losses
from prediff.profiler.peaks import device_peaks
from prediff.profiler.record import RankProfile, Report
from prediff.profiler.step_loop import Rounds, profile_rank

WIDTH, BATCH = 64, 32


class SmallLoss(nn.Cell):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Dense(WIDTH, WIDTH), nn.Dense(WIDTH, WIDTH)
        self.norm = LayerNorm(WIDTH)

    def construct(self, x):
        return ops.square(self.norm(self.second(ops.relu(self.first(x))))).mean()


def small_step(*, data_group: str | None = None, data_size: int = 1) -> TrainStep:
    ms.set_seed(0)
    loss = SmallLoss().set_train(True)
    return train_step(
        loss,
        dict(loss.parameters_and_names()),
        data_group=data_group,
        data_size=data_size,
        weight_decay=0.0,
        max_norm=1.0,
    )


def small_batch(number: int) -> tuple[np.ndarray]:
    return (np.full((BATCH, WIDTH), 1.0 + number, np.float32),)


def profile_small(
    step, runtime: Runtime, folder: Path, *, produce: Callable = small_batch
) -> RankProfile:
    rounds = Rounds(warm_up=4, timed=2, profiled=3)
    return profile_rank(step, produce, runtime, rounds=rounds, folder=folder)


def report_of(ranks: list[RankProfile]) -> Report:
    report = Report(
        name="small",
        stage="small",
        made="now",
        inputs="made up",
        machine={},
        samples=BATCH,
        operations=3 * 2 * BATCH * 2 * WIDTH**2,
        peaks=device_peaks(ranks=len(ranks)),
        ranks=tuple(ranks),
        modules=(),
    )
    return report.model_copy(update={"losses": find_losses(report)})
