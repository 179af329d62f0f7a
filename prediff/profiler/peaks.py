"""What a device can do: a host's peaks measured in this process, an NPU's as published."""

import os
import time

import mindspore as ms
import numpy as np

from hpc.monitor.peak import NPUS, npu_figures, product_rate
from prediff.profiler.record import Peaks


def device_peaks(*, ranks: int = 1, hosts: int = 1) -> Peaks:
    """Return the peaks of all devices of a job together.

    A host's are measured now, with all of its cores or the threads that this process may use, and
    shared by its ranks.
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
    threads = int(os.environ.get("OMP_NUM_THREADS") or cores)
    share = hosts * min(ranks / hosts, max(1, cores // threads))
    return Peaks(
        name=f"{hosts} x {cores} cores, measured with {threads} threads a rank",
        operations=share * product_rate(),
        bandwidth=share * copy_rate(),
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
