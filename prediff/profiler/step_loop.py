"""Make some steps of a stage on this rank, timed alone and then under MindSpore's profiler."""

import resource
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore.profiler import (
    ProfilerActivity,
    profile,
    schedule,
    tensorboard_trace_handler,
)

from hpc.cluster.runtime import Runtime
from hpc.data.loader import PrefetchLoader
from prediff.profiler.breakdown import StepMarks, step_times
from prediff.profiler.compile_phases import output_to, read_phases
from prediff.profiler.operators import operator_times, read_executions, read_memory
from prediff.profiler.record import RankProfile
from prediff.training.adversarial_step import AnyStep

RATE = 1e-6
"""Learning rate of the profiled steps: the weights are thrown away afterwards."""


@dataclass(frozen=True, kw_only=True)
class Rounds:
    """How many steps are made of each kind."""

    warm_up: int = 4
    """More than the loader keeps ready: those batches were made during the compilation."""
    timed: int = 5
    """Without the profiler: their times are those of the report."""
    profiled: int = 3


def profile_rank(
    step: AnyStep,
    produce: Callable[[int], tuple[np.ndarray, ...]],
    runtime: Runtime,
    *,
    rounds: Rounds,
    folder: Path,
) -> RankProfile:
    """Return where the time of a stage's steps goes on this rank; all ranks call it.

    The step is compiled anew: graphs from the cache have lost the names of their operators' Cells.
    Each step's numbers are read before the next one begins, so that its end is seen. Training reads
    them one step later.

    Args:
        step: the compiled step.
        produce: number of the step -> its inputs; called ahead in a thread as in training.
        folder: gets the traces and what MindSpore prints; what is there is removed.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    output = folder / "output.log"
    # The first batch is only compiled for, and the profiler has a warm-up step of its own.
    count = rounds.warm_up + rounds.timed + rounds.profiled + 2
    with output_to(output), PrefetchLoader(produce, start=0, stop=count) as batches:
        inputs = next(batches)
        began = time.perf_counter()
        step.compile(*inputs)
        compile_seconds = time.perf_counter() - began
        phases = read_phases(output.read_text(errors="replace"))
        runtime.barrier()

        def advance() -> StepMarks:
            asked = time.time_ns()
            inputs = next(batches)
            began = time.time_ns()
            step(*inputs, learning_rate=RATE).read()
            return StepMarks(asked / 1e9, began / 1e9, time.time_ns() / 1e9)

        for _ in range(rounds.warm_up):
            advance()
        timed = [advance() for _ in range(rounds.timed)]
        marks = _profiled(advance, rounds.profiled, folder)
    executions = read_executions(folder)
    first = marks[0].began
    return RankProfile(
        rank=runtime.place.rank,
        host=runtime.place.host,
        compile_seconds=compile_seconds,
        compile_phases=phases,
        step_seconds=tuple(mark.ended - mark.asked for mark in timed),
        steps=tuple(step_times(mark, executions) for mark in marks),
        operators=operator_times(
            (
                run
                for run in executions
                if any(mark.began <= run.start < mark.ended for mark in marks)
            ),
            steps=len(marks),
        ),
        resident_peak=1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        pool_timeline=tuple((at - first, size) for at, size in read_memory(folder)),
    )


def _profiled(advance: Callable[[], StepMarks], steps: int, folder: Path) -> list[StepMarks]:
    """Make steps under the profiler, whose files are there afterwards."""
    activities = [ProfilerActivity.CPU]
    if ms.get_context("device_target") != "CPU":
        activities.append(ProfilerActivity.NPU)
    profiler = profile(
        activities=activities,
        profile_memory=True,
        schedule=schedule(wait=0, warmup=1, active=steps, repeat=1, skip_first=0),
        on_trace_ready=tensorboard_trace_handler(str(folder)),
    )
    marks = []
    with profiler:
        for _ in range(1 + steps):
            marks.append(advance())
            profiler.step()
    return marks[1:]
