"""Time the native cuboid attention against the reference composition, and estimate the Ascend one.

    OMP_NUM_THREADS=2 python -m profiling cuboid-attention --batch 1 --batch 4 --batch 16
    python -m profiling cuboid-attention --ascend
    OMP_NUM_THREADS=2 python -m profiling cuboid-attention --batch 1 --batch 4 --batch 16 \\
        --picture docs/benchmarks/cuboid-attention.png

All numbers of a table come from one process; ratios mean more than times on a busy machine. The
Ascend numbers are the referee's estimate from documented and assumed costs, not measurements.
"""

import importlib
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Annotated

import mindspore as ms
import numpy as np
import typer
from mindspore import Tensor, nn, ops

from hpc.errors import UserError
from hpc.ops.cuboid_attention.geometry import cuboid_geometry
from hpc.ops.cuboid_attention.op import CuboidAttention
from hpc.ops.cuboid_attention.plan import CORES_910B2
from prediff.profiler.peaks import device_peaks
from profiling.timing import median_seconds

ASCEND_MEMORY_GB_S = 1600.0
ASCEND_VECTOR_GFLOP_S = 11_060.0  # 48 vector units, 64 float lanes, 2 operations, 1.8 GHz
ASCEND_CUBE_GFLOP_S = 354_000.0  # 24 cube units, float16
BUSY = 0.6  # share of the time from which on a pipe is what limits


@dataclass(frozen=True)
class Shape:
    """One attention of PreDiff's denoiser: grid (T, H, W), axis, heads h and their width D."""

    name: str
    grid: tuple[int, int, int]
    axis: int
    heads: int
    width: int

    @property
    def length(self) -> int:
        return self.grid[self.axis]

    def geometry(self):
        t, h, w = (size if axis == self.axis else 1 for axis, size in enumerate(self.grid))
        return cuboid_geometry(data=self.grid, cuboid_size=(t, h, w))

    def operands(self, batch: int, dtype) -> tuple[Tensor, Tensor, Tensor]:
        """Return qkv, table, dout of standard normals."""
        rng = np.random.default_rng(0)
        qkv = rng.normal(size=(batch, *self.grid, 3, self.heads, self.width)).astype(dtype)
        table = rng.normal(size=(2 * self.length - 1, self.heads)).astype(np.float32)
        dout = rng.normal(size=(batch, *self.grid, self.heads * self.width)).astype(dtype)
        return Tensor(qkv), Tensor(table), Tensor(dout)

    def flops(self, batch: int, *, gradient: bool) -> float:
        """Return the operations of the products: two forward, five in the gradient."""
        products = 5 if gradient else 2
        cells = batch * int(np.prod(self.grid))
        return products * 2.0 * cells * self.length * self.heads * self.width

    def least_bytes(self, batch: int, element: int, *, gradient: bool) -> float:
        """Return what must move: qkv in and out out; in the gradient dqkv and dout as well."""
        channels = batch * np.prod(self.grid) * self.heads * self.width * element
        return float(channels * (7 if gradient else 4))


SHAPES = [
    Shape("level 0, time", (13, 16, 16), 0, 4, 64),
    Shape("level 0, width", (13, 16, 16), 2, 4, 64),
    Shape("level 1, time", (13, 8, 8), 0, 4, 128),
    Shape("level 1, width", (13, 8, 8), 2, 4, 128),
]


class WithGradient(nn.Cell):
    """``construct(qkv, table, dout) -> (dqkv, dtable)`` of an attention Cell."""

    def __init__(self, attention: nn.Cell):
        super().__init__()
        self.gradient = ops.GradOperation(get_all=True, sens_param=True)
        self.attention = attention

    def construct(self, qkv, table, dout):
        return self.gradient(self.attention)(qkv, table, dout)


def native_rows(batches: list[int], repeats: int) -> list[tuple]:
    """Return (shape, batch, forward native, reference, with gradient native, reference), seconds.

    "With gradient" is one call of the gradient: its forward part is computed again inside it.
    """
    rows = []
    for batch in batches:
        for shape in SHAPES:
            qkv, table, dout = shape.operands(batch, np.float32)
            times = []
            for backend in ("native", "reference"):
                cell = CuboidAttention(
                    shape.geometry(), heads=shape.heads, width=shape.width, backend=backend
                )
                gradient = WithGradient(cell)
                times.append(median_seconds(cell, qkv, table, runs=repeats))
                times.append(median_seconds(gradient, qkv, table, dout, runs=repeats))
            rows.append((shape, batch, times[0], times[2], times[1], times[3]))
    return rows


@dataclass(frozen=True)
class Estimate:
    """A launch at batch 1 as the referee counted it."""

    shape: Shape
    dtype: type[np.floating]
    gradient: bool
    report: dict

    @property
    def name(self) -> str:
        return f"{self.shape.name}, {'gradient' if self.gradient else 'forward'}"

    @property
    def floor(self) -> float:
        """Return the microseconds that the memory needs at least."""
        element = np.dtype(self.dtype).itemsize
        least = self.shape.least_bytes(1, element, gradient=self.gradient)
        return least / ASCEND_MEMORY_GB_S / 1e3


def ascend_rows() -> list[Estimate]:
    """Return float16 with cube cores, float16 without, and float32, which cube cores do not take.

    Without: of an odd number of vector cores no blocks can be made.
    """
    emulated = _emulated_attention()
    rows = []
    for dtype, cores in (
        (np.float16, CORES_910B2),
        (np.float16, CORES_910B2 - 1),
        (np.float32, CORES_910B2),
    ):
        for shape in SHAPES:
            scale = shape.width**-0.5
            cell = emulated.EmulatedCuboidAttention(shape.geometry(), scale=scale, cores=cores)
            qkv, table, dout = shape.operands(1, dtype)
            nothing = Tensor(np.zeros(1, np.float32))
            cell(qkv, table, nothing).asnumpy()
            rows.append(Estimate(shape, dtype, False, emulated.last_report()))
            gradient = ops.GradOperation(get_all=True, sens_param=True)(cell)
            gradient(qkv, table, nothing, dout)[0].asnumpy()
            rows.append(Estimate(shape, dtype, True, emulated.last_report()))
    return rows


def _emulated_attention() -> ModuleType:
    folder = Path(__file__).parents[2] / "tests" / "hpc" / "ops" / "cuboid_attention"
    if not folder.exists():
        raise UserError("the emulator is a tool of the tests: run this from the source tree")
    sys.path.insert(0, str(folder))
    return importlib.import_module("emulated_attention")


def uses_cube(report: dict) -> bool:
    """Return whether cube cores took part in a launch."""
    return report["tiling_key"] == 2


def limit_of(report: dict) -> str:
    """Return what a launch waits for: the memory, a pipe of the busiest core, or latencies."""
    if report["memory_cycles"] >= report["cycles"]:
        return "memory"
    shares = {name: pipe["busy_cycles"] for name, pipe in report["pipes"].items()}
    busiest = max(shares, key=shares.__getitem__)
    share = shares[busiest] / report["cycles"]
    return f"{busiest} {share:.0%} busy" if share >= BUSY else f"latencies ({busiest} {share:.0%})"


def print_native(rows: list[tuple]) -> None:
    """Print the native table in Markdown."""
    print("| shape | batch | forward ms | reference | times | gradient ms | reference | times |")
    print("|---|---|---|---|---|---|---|---|")
    for shape, batch, forward, plain, gradient, plain_gradient in rows:
        print(
            f"| {shape.name} | {batch} | {1e3 * forward:.1f} | {1e3 * plain:.1f} "
            f"| {plain / forward:.1f} | {1e3 * gradient:.1f} | {1e3 * plain_gradient:.1f} "
            f"| {plain_gradient / gradient:.1f} |"
        )


def print_ascend(rows: list[Estimate]) -> None:
    """Print the table of estimates in Markdown."""
    print("| call | type | cores | estimate us | memory floor us | times | limit |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        microseconds = row.report["microseconds"]
        print(
            f"| {row.name} | {np.dtype(row.dtype)} "
            f"| {'cube and vector' if uses_cube(row.report) else 'vector'} "
            f"| {microseconds:.1f} | {row.floor:.1f} | {microseconds / row.floor:.2f} "
            f"| {limit_of(row.report)} |"
        )


def draw(path: str, rows: list[tuple], estimates: list[Estimate]) -> None:
    """Draw both rooflines: this host as measured, 910B2 from published peaks and estimates.

    What limits a launch with cube cores stands beside its shape; hollow: vector cores alone.
    """
    from matplotlib import pyplot as plt

    peaks = device_peaks()
    figure, (host, ascend) = plt.subplots(1, 2, figsize=(12, 4.5), layout="constrained")
    host.set_title("this host, float32, measured")
    ascend.set_title("Ascend 910B2, float16, the emulator's count")
    draw_roof(host, peaks.operations / 1e9, peaks.bandwidth / 1e9, "products")
    draw_roof(ascend, ASCEND_VECTOR_GFLOP_S, ASCEND_MEMORY_GB_S, "vector units")
    draw_roof(ascend, ASCEND_CUBE_GFLOP_S, ASCEND_MEMORY_GB_S, "cube units")
    for shape, batch, forward, _, with_gradient, _ in rows:
        if batch == 1:
            draw_point(host, shape, False, forward, 4, label=f"{shape.name}, forward")
            draw_point(host, shape, True, with_gradient, 4, label=f"{shape.name}, gradient")
    for row in estimates:
        if row.dtype == np.float16:
            seconds = row.report["microseconds"] / 1e6
            label = f"{row.name}: {limit_of(row.report)}" if uses_cube(row.report) else None
            draw_point(ascend, row.shape, row.gradient, seconds, 2, label=label)
    for panel in (host, ascend):
        panel.set(xlabel="operations a byte", ylabel="GFLOP/s")
        panel.legend(fontsize=6, loc="lower right")
    ascend.set_ylim(bottom=30)
    figure.savefig(path)


def draw_roof(panel, flops: float, gigabytes: float, unit: str) -> None:
    """Draw the roof of GFLOP/s of a unit and GB/s."""
    intensity = np.geomspace(0.5, 500)
    panel.loglog(intensity, np.minimum(flops, intensity * gigabytes), "k", linewidth=1)
    panel.text(500, flops, unit, ha="right", va="bottom", fontsize=7)
    panel.text(0.6, 0.35 * gigabytes, f"memory {gigabytes:.0f} GB/s", fontsize=7)


def draw_point(
    panel, shape: Shape, gradient: bool, seconds: float, element: int, *, label: str | None
) -> None:
    """Draw what a call reached; hollow where it has no label of its own."""
    work = shape.flops(1, gradient=gradient)
    x = work / shape.least_bytes(1, element, gradient=gradient)
    color = f"C{2 * SHAPES.index(shape) + gradient}"
    face = color if label else "none"
    panel.loglog(
        x, work / seconds / 1e9, "s" if gradient else "o", color=color, mfc=face, label=label
    )


def main(
    *,
    batches: Annotated[list[int], typer.Option("--batch")] = [1, 4, 16],
    repeats: int = 7,
    ascend: Annotated[bool, typer.Option("--ascend", help="only the estimates for 910B2")] = False,
    picture: Annotated[
        str | None, typer.Option(help="estimate, too, and draw the rooflines at batch 1 here")
    ] = None,
) -> None:
    ms.set_context(mode=ms.GRAPH_MODE)
    if not ascend:
        rows = native_rows(batches, repeats)
        print_native(rows)
    if ascend or picture:
        estimates = ascend_rows()
        print_ascend(estimates)
    if picture:
        draw(picture, rows, estimates)
