"""What a device can do: a host's peaks measured in this process, an NPU's as published."""

import os
import time

import mindspore as ms
import numpy as np

from hpc.monitor.peak import NPUS, npu_figures, product_rate
from prediff.profiler.record import Peaks


def device_peaks(*, ranks: int = 1, hosts: int = 1, pinned: bool = False) -> Peaks:
    """Return the peaks of all devices of a job together.

    A host's are measured now, on the cores that this process may use: all that the ranks of a host
    share, or with `pinned` this rank's own.
    """
    if ms.get_context("device_target") != "CPU":
        figures = npu_figures()
        if figures is not None:
            return Peaks(
                name=f"{ranks} x {ms.hal.get_device_name(0)}, published",
                operations=ranks * figures.operations,
                bandwidth=ranks * figures.bandwidth,
            )
    cores = len(os.sched_getaffinity(0))
    parts = ranks if pinned else hosts
    return Peaks(
        name=f"{parts} x {cores} cores, measured",
        operations=parts * product_rate(),
        bandwidth=(ranks if pinned else min(ranks, hosts * cores)) * copy_rate(),  # of one thread
    )


def published_peaks() -> dict[str, Peaks]:
    """Return the NPUs' peaks by name."""
    return {
        name: Peaks(name=f"{name}, published", operations=npu.operations, bandwidth=npu.bandwidth)
        for name, npu in NPUS.items()
    }


def copy_rate(*, megabytes: int = 128, rounds: int = 5) -> float:
    """Return bytes a second that a copy of a large array reads and writes, its best."""
    source = np.ones(megabytes << 18, np.float32)
    target = np.empty_like(source)
    seconds = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        np.copyto(target, source)
        seconds.append(time.perf_counter() - began)
    return 2 * source.nbytes / min(seconds[1:])
