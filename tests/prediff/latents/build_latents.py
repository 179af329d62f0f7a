"""A builder of small made-up latents: imported by tests, and started by them as a process.

    python build_latents.py PATH [--events E] [--pause S] [--die-at N]

It prints a line with what it did. ``--die-at N`` kills it (SIGKILL) at its N-th operation on a file
of the store.
"""

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from hpc.cluster.mpi import started_ranks
from hpc.errors import UserError
from prediff.latents.layout import StoreIdentity
from prediff.latents.writer import BuildReport, build_store

IDENTITY = StoreIdentity(dataset="storms", vae_sha256="a1" * 32, catalog_sha256="c2" * 32)
FRAMES, HEIGHT, WIDTH = 5, 8, 8
LATENT = (4, 4, 3)


def event_ids(events: int) -> list[str]:
    return [f"S{number:05d}" for number in range(events)]


def read_event(event: int) -> np.ndarray:
    frames = np.random.default_rng(event).random((FRAMES, HEIGHT, WIDTH, 1), np.float32)
    return frames * (1 + event) / 100


def encode(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    pooled = frames.reshape(len(frames), 4, 2, 4, 2).mean(axis=(2, 4))[..., None]
    mean = pooled * np.array([1.0, -2.0, 3.0], np.float32)
    return mean, np.exp(-np.abs(mean))


def build(path: Path, *, events: int = 10, **changes: object) -> BuildReport:
    arguments = {
        "identity": IDENTITY,
        "variant": "identity",
        "event_ids": event_ids(events),
        "num_frames": FRAMES,
        "latent_shape": LATENT,
        "read_event": read_event,
        "encode": encode,
        "batch_frames": 8,
        "events_per_shard": 3,
    }
    return build_store(path, **(arguments | changes))


def die_at(operation: int, path: Path) -> None:
    count = 0

    def count_file_operations(event: str, arguments: tuple) -> None:
        nonlocal count
        if event in {"open", "os.rename", "os.remove", "os.mkdir"} and str(path) in str(arguments):
            count += 1
            if count == operation:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count_file_operations)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("path", type=Path)
    parser.add_argument("--events", type=int, default=10)
    parser.add_argument("--pause", type=float, default=0.0, help="seconds a batch")
    parser.add_argument("--die-at", type=int)
    parser.add_argument("--fail-at-event", type=int)
    options = parser.parse_args()
    encoded = 0

    def slowly(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        nonlocal encoded
        encoded += 1
        time.sleep(options.pause)
        return encode(frames)

    def read(event: int) -> np.ndarray:
        if event == options.fail_at_event:
            raise UserError(f"event {event}: its file is truncated")
        return read_event(event)

    if options.die_at:
        die_at(options.die_at, options.path)
    with started_ranks() as ranks:
        report = build(
            options.path, events=options.events, encode=slowly, read_event=read, ranks=ranks
        )
        print(
            json.dumps(
                {
                    "rank": ranks.rank,
                    "size": ranks.size,
                    "computed": report.shards_computed,
                    "kept": report.shards_kept,
                    "complete": report.complete,
                    "batches": encoded,
                }
            )
        )


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
