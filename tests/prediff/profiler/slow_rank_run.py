"""Run by test_slow_rank.py under msrun: profiles a small step in which one rank sleeps."""

import sys
import time
from pathlib import Path

from small_stage import profile_small, report_of, small_step

from hpc.cluster.mesh import make_mesh
from hpc.cluster.runtime import start_runtime
from prediff.profiler.record import RankProfile, write_report


class SleepsOn:
    """A step before which one rank sleeps."""

    def __init__(self, step, *, seconds: float):
        self.step, self.seconds = step, seconds

    def compile(self, *inputs):
        self.step.compile(*inputs)

    def __call__(self, *inputs, learning_rate):
        time.sleep(self.seconds)
        return self.step(*inputs, learning_rate=learning_rate)


def main(folder: Path) -> None:
    with start_runtime(device="cpu") as runtime:
        rank, size = runtime.place.rank, runtime.place.size
        group = runtime.data_group(make_mesh(ranks=size, global_batch=size))
        step = small_step(data_group=group, data_size=size)
        slow = SleepsOn(step, seconds=1.5 if rank == 1 else 0.0)
        mine = profile_small(slow, runtime, folder / f"rank_{rank}")
        everyone = runtime.all_gather_object(mine.model_dump())
        ranks = [RankProfile.model_validate(each) for each in everyone]
        if runtime.is_first:
            write_report(folder, report_of(ranks))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
