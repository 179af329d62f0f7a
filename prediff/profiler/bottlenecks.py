"""Name what a step loses most time to, and what to try: the part of the report that speaks.

Every loss is in seconds a step that would be saved without it, so that the longest is the first to
look at. Computing is compared with what the device could do at its peaks.
"""

from collections.abc import Iterator

from prediff.profiler.operators import COLLECTIVES
from prediff.profiler.record import PARTS, Loss, RankProfile, Report, StepTimes

PRODUCTS = ("MatMul", "BatchMatMul", "Conv2D", "Conv3D", "CuboidAttention (native)")
NAMES = {
    "compute": "computing",
    "data": "waiting for batches",
    "eager": "operators outside of the graphs",
    "host": "the host",
}


def find_losses(report: Report) -> tuple[Loss, ...]:
    """Return the losses of a report, the largest first."""
    found = [loss for loss in _losses(report) if loss.seconds > 0]
    return tuple(sorted(found, key=lambda loss: -loss.seconds))


def _losses(report: Report) -> Iterator[Loss]:
    means = [rank.typical() for rank in report.ranks]
    quickest = min(means, key=lambda mean: mean.own)
    if len(report.ranks) > 1:
        yield _slow_rank(report.ranks, means, quickest)
        yield _communication(means)
    yield Loss(
        cause="data",
        seconds=quickest.data,
        words=f"Every step waits {_ms(quickest.data)} for its batch.",
        advice="Run `python -m profiling data-path` to see which link of the chain is slow; put "
        "the latents on a local disk or in memory, raise the loader's depth, or move work out of "
        "the function that makes the inputs.",
    )
    yield _eager(report, quickest)
    yield Loss(
        cause="host",
        seconds=quickest.host,
        words=f"{_ms(quickest.host)} of a step pass in Python, copies and graph starts, with no "
        "operator running.",
        advice="Keep sleeps, locks, file writes and `asnumpy` out of the step; join graphs into "
        "one; with many short operators a larger micro-batch hides their starts.",
    )
    yield from _compute(report, quickest)


def _slow_rank(ranks: tuple[RankProfile, ...], means: list[StepTimes], quickest: StepTimes) -> Loss:
    slowest = max(range(len(means)), key=lambda r: means[r].own)
    slow = means[slowest]
    more = {
        part: getattr(slow, part) - getattr(quickest, part)
        for part in PARTS
        if part != "communication"
    }
    worst = max(more, key=lambda part: more[part])
    rank = ranks[slowest]
    return Loss(
        cause="slow rank",
        seconds=slow.own - quickest.own,
        words=f"Rank {rank.rank} on {rank.host} is slow: it takes {_ms(slow.own)} before others "
        f"can go on, the quickest rank {_ms(quickest.own)}; most of the difference is "
        f"{NAMES[worst]} ({_ms(more[worst])}). The others wait in the all-reduce.",
        advice="Look at that host: other processes, clock rate, temperature, a slow disk, threads "
        "bound to the wrong cores. If the slow rank changes from run to run, it is noise.",
    )


def _communication(means: list[StepTimes]) -> Loss:
    seconds = min(mean.communication for mean in means)
    return Loss(
        cause="communication",
        seconds=seconds,
        words=f"Even the rank that waits for nobody spends {_ms(seconds)} a step in collectives "
        "that no computing hides.",
        advice="Accumulate more micro-batches a step, send gradients in several buckets so that "
        "they overlap with the backward pass, or use fewer and larger ranks on a host.",
    )


def _eager(report: Report, mean: StepTimes) -> Loss:
    calls = [
        operator
        for rank in report.ranks[:1]
        for operator in rank.operators
        if operator.phase == "eager"
    ]
    count = sum(operator.calls for operator in calls)
    kinds = ", ".join(dict.fromkeys(operator.kind for operator in calls[:3]))
    return Loss(
        cause="eager operators",
        seconds=mean.eager,
        words=f"{count:.0f} operators a step run outside of the compiled graph ({kinds}) and take "
        f"{_ms(mean.eager)} with the gaps between them.",
        advice="Move them into the step's Cell, so that they are compiled, or out of the loop.",
    )


def _compute(report: Report, mean: StepTimes) -> Iterator[Loss]:
    """Divide computing into what is no product, and products below the peak."""
    rank = report.ranks[0]
    other = [
        o
        for o in rank.operators
        if o.phase != "eager" and not o.kind.startswith(PRODUCTS) and not COLLECTIVES.search(o.kind)
    ]
    total = sum(o.seconds for o in rank.operators if o.phase != "eager") or 1.0
    scale = mean.compute / total
    seconds = scale * sum(o.seconds for o in other)
    by_kind: dict[str, float] = {}
    for operator in other:
        by_kind[operator.kind] = by_kind.get(operator.kind, 0.0) + scale * operator.seconds
    largest = sorted(by_kind.items(), key=lambda item: -item[1])[:3]
    names = ", ".join(f"{kind} {_ms(value)}" for kind, value in largest)
    yield Loss(
        cause="other operators",
        seconds=seconds,
        words=f"Operators that multiply no matrices take {_ms(seconds)}: {names}.",
        advice="Fuse them with their neighbours, and choose layouts that need no transposes.",
    )
    products = mean.compute - seconds
    floor = report.operations / report.peaks.operations
    by_module: dict[str, float] = {}
    for work in (work for work in report.modules if work.operations and work.seconds):
        at_peak = report.peaks.floor(operations=work.operations, moved=work.bytes)
        by_module[work.module] = work.seconds - at_peak
    worst = max(by_module, key=lambda name: by_module[name], default="")
    where = f" Forward, {worst} is farthest from the roofline." if worst else ""
    yield Loss(
        cause="slow products",
        seconds=products - floor,
        words=f"Matrix products, convolutions and fused operators take {_ms(products)}; at the "
        f"device's peak the model's operations take {_ms(floor)}.{where}",
        advice="Compare convolution lowerings (`python -m profiling convolution-speed`), use "
        "larger micro-batches, and set OMP_NUM_THREADS to the cores of a rank.",
    )


def _ms(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1e3 * seconds:.3g} ms"
