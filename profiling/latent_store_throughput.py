"""Random windows of full-size latents: our reader against memmap, zarr-python and tensorstore.

    python -m profiling latent-store-throughput [--events 512] [--folder DIR]

All read the same windows of `mean` [event, frame 13 of 25, 16, 16, 64] float16, a batch into one
array, from the page cache. The ways take turns batch by batch, so that other load on the machine
hits all of them; the table gives medians. tensorstore takes part where it is installed.
"""

import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from prediff.latents.layout import StoreIdentity
from prediff.latents.reader import LatentReader, open_store, page_aligned_empty
from prediff.latents.writer import BuildReport, build_store

FRAMES, LATENT = 25, (16, 16, 64)
IDENTITY = StoreIdentity(dataset="benchmark", vae_sha256="0" * 64, catalog_sha256="1" * 64)

ReadBatch = Callable[[np.ndarray, np.ndarray, np.ndarray], None]


def main(
    *,
    events: Annotated[int, typer.Option(help="1.6 MB each")] = 512,
    batch: Annotated[int, typer.Option(help="windows a batch")] = 64,
    length: Annotated[int, typer.Option(help="frames a window")] = 13,
    rounds: Annotated[int, typer.Option(help="batches a way")] = 200,
    folder: Annotated[
        Path | None, typer.Option(help="where to put the store [default: temporary]")
    ] = None,
) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as place:
        begin = time.perf_counter()
        report = _build(Path(place) / "latents.zarr", events)
        build_seconds = time.perf_counter() - begin
        reader = open_store(Path(place) / "latents.zarr", identity=IDENTITY, variant="identity")
        first_seconds = _read_every_event_once(reader, batch)
        latents = reader.read_array(
            "mean", events=range(events), starts=[0] * events, length=FRAMES
        )
        memmap = _make_memmap(Path(place) / "memmap", latents)
        ways = {
            "numpy memmap": _memmap_way(memmap, length),
            "prediff.latents": _our_way(reader, length),
            "zarr-python": _zarr_way(report, length),
        }
        ways |= _tensorstore_way(report, length)
        seconds = _take_turns(ways, latents, batch=batch, length=length, rounds=rounds)
        reader.close()
    stored = events * report.layout.bytes_per_event
    print(_describe_machine())
    print(
        f"{events} events in {report.layout.num_shards} shards, built with fsync "
        f"at {stored / build_seconds / 1e6:.0f} MB/s; first read with checksums at "
        f"{latents.nbytes / first_seconds / 1e6:.0f} MB/s.\n"
        f"Batches of {batch} windows of {length} frames, {rounds} a way.\n"
    )
    _print_table(seconds, batch * length * int(np.prod(LATENT)) * 2)


def _build(path: Path, events: int) -> BuildReport:
    latents = np.random.default_rng(0).standard_normal((4 * FRAMES, *LATENT), np.float32)

    def encode(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean = latents[: len(frames)] + frames[:, :, :, :1]
        return mean, latents[: len(frames)]

    return build_store(
        path,
        identity=IDENTITY,
        variant="identity",
        event_ids=[f"E{event}" for event in range(events)],
        num_frames=FRAMES,
        latent_shape=LATENT,
        read_event=lambda event: np.full((FRAMES, 1, 1, 1), event / events, np.float32),
        encode=encode,
        batch_frames=4 * FRAMES,
    )


def _read_every_event_once(reader: LatentReader, batch: int) -> float:
    """Return the seconds of a first pass, which checks every event's checksum."""
    out = page_aligned_empty((batch, FRAMES, *LATENT), "float16")
    out[...] = 0  # so that the system has given the memory
    begin = time.perf_counter()
    for first in range(0, reader.layout.num_events, batch):
        events = range(first, min(first + batch, reader.layout.num_events))
        starts, part = [0] * len(events), out[: len(events)]
        reader.read_array("mean", events=events, starts=starts, length=FRAMES, out=part)
    return time.perf_counter() - begin


def _make_memmap(file: Path, latents: np.ndarray) -> np.ndarray:
    latents.tofile(file)
    memmap = np.memmap(file, latents.dtype, "r", shape=latents.shape)
    memmap.view(np.uint8).reshape(-1)[::4096].sum()  # page faults are not what is compared
    return memmap


def _memmap_way(memmap: np.ndarray, length: int) -> ReadBatch:
    def read(events: np.ndarray, starts: np.ndarray, out: np.ndarray) -> None:
        for event, start, window in zip(events.tolist(), starts.tolist(), out, strict=True):
            np.copyto(window, memmap[event, start : start + length])

    return read


def _our_way(reader: LatentReader, length: int) -> ReadBatch:
    def read(events: np.ndarray, starts: np.ndarray, out: np.ndarray) -> None:
        reader.read_array("mean", events=events, starts=starts, length=length, out=out)

    return read


def _zarr_way(report: BuildReport, length: int) -> ReadBatch:
    import zarr

    array = zarr.open_array(report.group / "mean", mode="r")

    def read(events: np.ndarray, starts: np.ndarray, out: np.ndarray) -> None:
        for event, start, window in zip(events.tolist(), starts.tolist(), out, strict=True):
            window[...] = array[event, start : start + length]

    return read


def _tensorstore_way(report: BuildReport, length: int) -> dict[str, ReadBatch]:
    try:
        import tensorstore
    except ImportError:
        return {}
    array = tensorstore.open(
        {"driver": "zarr3", "kvstore": f"file://{report.group / 'mean'}/"}, open=True
    ).result()

    def read(events: np.ndarray, starts: np.ndarray, out: np.ndarray) -> None:
        windows = [
            array[event, start : start + length].read()
            for event, start in zip(events.tolist(), starts.tolist(), strict=True)
        ]
        for window, future in zip(out, windows, strict=True):
            window[...] = future.result()

    return {"tensorstore": read}


def _take_turns(
    ways: dict[str, ReadBatch], latents: np.ndarray, *, batch: int, length: int, rounds: int
) -> dict[str, list[float]]:
    rng = np.random.default_rng(1)
    out = page_aligned_empty((batch, length, *LATENT), "float16")
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds):
        for name, read in ways.items():
            events = rng.integers(0, len(latents), batch)
            starts = rng.integers(0, FRAMES - length + 1, batch)
            begin = time.perf_counter()
            read(events, starts, out)
            seconds[name].append(time.perf_counter() - begin)
            if turn == 0:
                rows = zip(events, starts, strict=True)
                right = [latents[event, start : start + length] for event, start in rows]
                np.testing.assert_array_equal(out, right, err_msg=name)
    return seconds


def _describe_machine() -> str:
    cpu = next(
        line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    )
    load = os.getloadavg()[0]
    return (
        f"{time.strftime('%Y-%m-%d')}: {os.cpu_count()} cores of {cpu} (load {load:.1f}), Python "
        f"{platform.python_version()}, numpy {np.__version__}, "
        f"`python {' '.join(sys.orig_argv[1:])}`."
    )


def _print_table(seconds: dict[str, list[float]], batch_bytes: int) -> None:
    ours = np.array(seconds["prediff.latents"])
    print(
        "| way | MB/s, median | MB/s, best tenth | ours : it, median pair | ours : it, best tenth |"
    )
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, column in seconds.items():
        times = np.array(column)
        best, our_best = np.quantile(times, 0.1), np.quantile(ours, 0.1)
        median_rate, best_rate = batch_bytes / np.median(times) / 1e6, batch_bytes / best / 1e6
        print(
            f"| {name} | {median_rate:.0f} | {best_rate:.0f} "
            f"| {np.median(times / ours):.2f} | {best / our_best:.2f} |"
        )
