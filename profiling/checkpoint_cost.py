"""How long saving a checkpoint of the full model stops training, and how long writing it takes.

    python -m profiling checkpoint-cost --parameters 137000000 --folder /tmp/checkpoint_cost

The state is numpy arrays on the host: weights, their average and two moments, float32. What stops
training is `TrainStep.export`'s copy of them; handing the copy to the writer and writing it happens
in a thread. The copy off an NPU takes the place of the one here.
"""

import shutil
import statistics
import threading
import time
from pathlib import Path

import numpy as np

from hpc.checkpoint.store import CheckpointWriter, Rotation

ARRAYS = 400
GROUPS = ("model", "ema", "first_moment", "second_moment")


def make_state(parameters: int) -> dict[str, dict[str, np.ndarray]]:
    """Return float32 arrays, `parameters` numbers a group."""
    size = parameters // ARRAYS
    generator = np.random.default_rng(0)
    return {
        group: {f"array_{n}": generator.random(size, np.float32) for n in range(ARRAYS)}
        for group in GROUPS
    }


def copy_of(state: dict[str, dict[str, np.ndarray]]) -> dict[str, dict[str, np.ndarray]]:
    return {
        group: {name: np.array(array) for name, array in arrays.items()}
        for group, arrays in state.items()
    }


def measure(folder: Path, *, parameters: int, rounds: int) -> None:
    """Print seconds of the copy, of the call that begins to save, and of the writing."""
    state = make_state(parameters)
    total = sum(array.nbytes for arrays in state.values() for array in arrays.values())
    writer = CheckpointWriter(folder, rotation=Rotation(keep_last=1))
    rows: dict[str, list[float]] = {"copy": [], "begin to save": [], "write": [], "step beside": []}
    for number in range(rounds):
        began = time.perf_counter()
        copy = copy_of(state)
        copied = time.perf_counter()
        writer.save(step=number, arrays=copy, state={"samples_seen": number})
        handed_over = time.perf_counter()
        del copy
        written = threading.Event()
        steps = _steps_until(written, writer)
        rows["copy"].append(copied - began)
        rows["begin to save"].append(handed_over - copied)
        rows["write"].append(time.perf_counter() - handed_over)
        rows["step beside"].append(steps)
    writer.finish()
    alone = statistics.median(_one_step() for _ in range(20))
    print(f"{parameters / 1e6:.0f} M parameters, {total / 1e9:.2f} GB, {rounds} rounds")
    for name, seconds in rows.items():
        print(f"{name:16} median {statistics.median(seconds):.4f} s, most {max(seconds):.4f} s")
    print(f"{'step alone':16} median {alone:.4f} s")


def _steps_until(written: threading.Event, writer: CheckpointWriter) -> float:
    """Do work in this thread while the writer writes; return the median seconds of a piece."""

    def wait() -> None:
        writer.wait()
        written.set()

    waiter = threading.Thread(target=wait)
    waiter.start()
    seconds = []
    while not written.is_set():
        seconds.append(_one_step())
    waiter.join()
    return statistics.median(seconds)


_MATRIX = np.random.default_rng(1).random((400, 400), np.float32)


def _one_step() -> float:
    """Multiply matrices, as a device's step would keep one core busy."""
    began = time.perf_counter()
    for _ in range(5):
        _MATRIX @ _MATRIX
    return time.perf_counter() - began


def main(
    *,
    parameters: int = 137000000,
    rounds: int = 3,
    folder: Path = Path("/tmp/checkpoint_cost"),
) -> None:
    try:
        measure(folder, parameters=parameters, rounds=rounds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
