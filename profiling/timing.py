"""Seconds of a call: the one stopwatch of the scripts here."""

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import mindspore as ms


def median_seconds(call: Callable[..., Any], *arguments: Any, runs: int, warm_up: int = 1) -> float:
    """Return the median time of a call, with its first result on the host.

    Args:
        call: such as a compiled Cell.
        arguments: of every call.
        runs: that are timed.
        warm_up: runs before them, with compilation.
    """
    seconds = []
    for _ in range(warm_up + runs):
        began = time.perf_counter()
        result = call(*arguments)
        first = result[0] if isinstance(result, tuple) else result
        if isinstance(first, ms.Tensor):
            first.asnumpy()
        seconds.append(time.perf_counter() - began)
    return median(seconds[warm_up:])


def ratio_of(
    one: Callable[[], Any], other: Callable[[], Any], *, rounds: int, warm_up: int = 1
) -> float:
    """Return the shortest time of `one` over that of `other`, which take turns.

    Other load only ever lengthens a call, so the shortest of many is the least disturbed one.
    """
    shortest = [float("inf"), float("inf")]
    for number in range(warm_up + rounds):
        for side, call in enumerate((one, other)):
            seconds = median_seconds(call, runs=1, warm_up=0)
            if number >= warm_up:
                shortest[side] = min(shortest[side], seconds)
    return shortest[0] / shortest[1]
