"""The rate that a run's operations are compared with: its devices' peak in matrix products.

MFU is the operations of the model, without those of recomputation, over the time and this peak.
NPUs have a published peak; a host's is measured, once a run.
"""

import json
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import ops

from hpc.durable_files import write_at_once

SIDE = 2048
ROUNDS = 10
MOST_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class Published:
    """Figures of one NPU."""

    operations: float
    """A second, of 16-bit products."""
    bandwidth: float
    """Bytes a second of its memory."""
    memory: float
    """Bytes."""


NPUS: Mapping[str, Published] = {
    "910B1": Published(operations=364e12, bandwidth=1.6e12, memory=64e9),
    "910B2": Published(operations=354e12, bandwidth=1.6e12, memory=64e9),
    "910B3": Published(operations=295e12, bandwidth=1.6e12, memory=64e9),
    "910B4": Published(operations=246e12, bandwidth=1.6e12, memory=32e9),
    "910_93": Published(operations=376e12, bandwidth=1.6e12, memory=64e9),
}
"""The memory bandwidth is published for the 910B2 and assumed for the other 910B. 910_93 is one of
the two dies of a 910C, which MindSpore sees as a device (arXiv:2506.12708: 752 TFLOP/s in bfloat16,
128 GB and 3.2 TB/s for both)."""


def product_rate(*, side: int = SIDE, rounds: int = ROUNDS) -> float:
    """Return operations a second of MindSpore's float32 matrix product in this process, its best.

    Takes half a second at the most on two quiet cores. Smaller matrices do not reach the peak.
    """
    matrix = ms.Tensor(np.ones((side, side), np.float32))
    product = ops.MatMul()
    product(matrix, matrix).asnumpy()
    seconds: list[float] = []
    while len(seconds) < rounds and sum(seconds) < MOST_SECONDS:
        began = time.perf_counter()
        product(matrix, matrix).asnumpy()
        seconds.append(time.perf_counter() - began)
    return 2 * side**3 / min(seconds)


def job_peak(*, ranks: int, hosts: int, folder: Path | None, pinned: bool = False) -> float | None:
    """Return the operations a second that all devices of a job could do.

    A product uses all cores that its process may use, whatever OMP_NUM_THREADS says: MindSpore has
    a pool of its own. So the rate of a rank that may use the whole host is the host's, and those of
    ranks that are pinned to cores of their own add up. A peak that was measured is kept in the
    folder: the best that any start of the run on such a host has seen.

    Args:
        ranks: of the job.
        hosts: that they run on.
        folder: of the run; None keeps nothing.
        pinned: each rank has cores of its own.

    Returns:
        None for an NPU without a published figure.
    """
    if ms.get_context("device_target") != "CPU":
        published = npu_figures()
        return None if published is None else ranks * published.operations
    key = f"{platform.node()}, {len(os.sched_getaffinity(0))} cores"
    known = _read(folder)
    rate = max(product_rate(), known.get(key, 0.0))
    if folder is not None:
        write_at_once(_file(folder), json.dumps(known | {key: rate}))
    return rate * (ranks if pinned else hosts)


def npu_figures() -> Published | None:
    """Return the published figures of this process's NPU, None if its name is unknown."""
    name = ms.hal.get_device_name(0)
    return next((figures for npu, figures in NPUS.items() if npu in name), None)


def _file(folder: Path) -> Path:
    return folder / "host_peak.json"


def _read(folder: Path | None) -> dict[str, float]:
    if folder is None or not _file(folder).exists():
        return {}
    return json.loads(_file(folder).read_text())
