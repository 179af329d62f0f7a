"""The roofline of a configuration's networks, module by module, for this host and for the NPUs.

    python -m profiling roofline [--config FILE] [--stage diffusion] [--out reports/roofline.png]

This host's peaks, matrix product and memory, are measured in this run; the NPUs' are published.
Operations and bytes are counted in one eager forward pass. For every device the table gives the
least seconds of all forward products there, module by module at its peaks: for NPUs a bound from
published figures in 16 bits, nothing that was measured.
"""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

import typer

import hpc  # noqa: F401  (prepares the environment before MindSpore is imported)

import mindspore as ms  # isort: skip
from rich.console import Console
from rich.table import Table

from prediff.config import load_config
from prediff.profiler.counted import Product, count_products
from prediff.profiler.peaks import device_peaks, published_peaks
from prediff.profiler.record import ModuleWork, Peaks
from prediff.profiler.report_pictures import bounds_figure
from prediff.training.task import training_task


def by_kind(products: Iterable[Product]) -> list[ModuleWork]:
    """Add products up by the kind of module that makes them, the largest first."""
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for product in products:
        words = [word for word in product.module.split(".") if not word.isdigit()]
        entry = sums[".".join(words[-2:])]
        entry[0] += product.operations
        entry[1] += product.bytes
    found = [
        ModuleWork(module=name, operations=operations, bytes=moved, seconds=0.0)
        for name, (operations, moved) in sums.items()
    ]
    return sorted(found, key=lambda work: -work.operations)


def least_seconds(products: Iterable[Product], peaks: Peaks, *, number_bytes: int) -> float:
    """Return the time of all products, each at the roofline.

    Args:
        products: counted in float32.
        peaks: of the device.
        number_bytes: of a number there.
    """
    return sum(
        peaks.floor(operations=product.operations, moved=product.bytes * number_bytes / 4)
        for product in products
    )


def main(
    *,
    config_file: Annotated[Path | None, typer.Option("--config")] = None,
    stage: Literal["autoencoder", "diffusion", "alignment"] = "diffusion",
    samples: int = 1,
    out: Path = Path("reports/roofline.png"),
) -> None:
    ms.set_device("CPU")
    host = device_peaks()
    print(
        f"{host.name}: {host.operations / 1e9:.4g} GFLOP/s, {host.bandwidth / 1e9:.3g} GB/s, "
        f"ridge at {host.operations / host.bandwidth:.3g} operations a byte"
    )
    config = load_config(config_file)
    recipe = training_task(stage, config).recipe()
    products = count_products(*recipe.forward(config, samples=samples))
    work = by_kind(products)
    table = Table("modules", "GFLOP", "MB", "operations a byte", "bound here by")
    for each in work:
        intensity = each.operations / each.bytes
        bound = "memory" if intensity < host.operations / host.bandwidth else "products"
        table.add_row(
            each.module,
            f"{each.operations / 1e9:.4g}",
            f"{each.bytes / 1e6:.4g}",
            f"{intensity:.3g}",
            bound,
        )
    bounds = Table("device", "least ms of a forward pass", "of it bound by memory")
    devices = {"this host, float32": (host, 4)}
    devices |= {f"{name}, 16 bits": (peaks, 2) for name, peaks in published_peaks().items()}
    for name, (peaks, number_bytes) in devices.items():
        total = least_seconds(products, peaks, number_bytes=number_bytes)
        at_peak = sum(product.operations for product in products) / peaks.operations
        bounds.add_row(name, f"{1e3 * total:.4g}", f"{1 - at_peak / total:.0%}")
    console = Console()
    console.print(table, bounds)
    out.parent.mkdir(parents=True, exist_ok=True)
    bounds_figure(work, [host, *published_peaks().values()]).savefig(out)
    print(f"picture: {out}")
