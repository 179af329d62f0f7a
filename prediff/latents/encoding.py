"""Frames in, checked float16 moments out: batches of one size, an event at a time.

Letters: T frames of an event, N frames of a batch, H W pixels, h w c the latent's height, width and
channels.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from hpc.errors import UserError
from prediff.latents.layout import StoreLayout

ReadEvent = Callable[[int], np.ndarray]
Encode = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]

FLOAT16_MAX = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class EncodedEvent:
    """One event's moments ``[T, h, w, c]`` float16 and mean pixel values ``[T]`` float32."""

    mean: np.ndarray
    std: np.ndarray
    intensity: np.ndarray


def encode_events(
    *,
    layout: StoreLayout,
    event_ids: Sequence[str],
    events: range,
    read_event: ReadEvent,
    encode: Encode,
    batch_frames: int,
    on_batch: Callable[[int], None],
) -> Iterator[EncodedEvent]:
    """Yield the events of one shard, encoded, in order.

    The next event is read while one is encoded. Batches run across events and all have one size, at
    most ``batch_frames``, so that a compiled encoder is compiled once; the last one is padded with
    zeros. The batches depend on the shard alone, so a shard has the same bytes whoever builds it.

    Args:
        layout: shapes and events a shard.
        event_ids: names for errors.
        events: numbers of the events, those of one shard.
        read_event: event number -> frames ``[T, H, W, 1]`` in [0, 1].
        encode: frames ``[N, H, W, 1]`` float32 -> mean and standard deviation ``[N, h, w, c]``.
        batch_frames: the most frames that ``encode`` is given.
        on_batch: called with the number of frames of ``events`` that are encoded by now.

    Raises:
        UserError: frames or latents of the wrong shape, not finite, or too large for float16; the
            line names the event.
    """
    frames_total = len(events) * layout.num_frames
    size = _even_batch(layout.events_per_shard * layout.num_frames, batch_frames)
    pending: list[np.ndarray] = []  # frames that no batch has taken
    intensities: list[np.ndarray] = []
    moments: list[tuple[np.ndarray, np.ndarray]] = []  # of batches whose events are not all out
    encoded = yielded = 0
    for frames in _read_ahead(read_event, events, event_ids, layout):
        intensities.append(frames.mean(axis=(1, 2, 3), dtype=np.float64).astype(np.float32))
        pending.append(frames)
        last = len(intensities) == len(events)
        while (waiting := sum(map(len, pending))) >= size or (last and waiting):
            joined = np.concatenate(pending) if len(pending) > 1 else pending[0]
            batch, rest = joined[:size], joined[size:]
            pending = [rest] if len(rest) else []
            moments.append(_encode_batch(encode, batch, size, layout))
            encoded += len(batch)
            on_batch(encoded)
        whole = encoded // layout.num_frames
        if whole > yielded:
            mean, std = (np.concatenate(parts) for parts in zip(*moments, strict=True))
            for number in range(whole - yielded):
                cut = slice(number * layout.num_frames, (number + 1) * layout.num_frames)
                event_id = event_ids[events[yielded + number]]
                yield EncodedEvent(
                    mean=_to_float16(mean[cut], "mean", event_id),
                    std=_to_float16(std[cut], "standard deviation", event_id),
                    intensity=intensities[yielded + number],
                )
            taken = (whole - yielded) * layout.num_frames
            moments = [(mean[taken:], std[taken:])]
            yielded = whole
    assert encoded == frames_total
    assert yielded == len(events)


def _even_batch(frames: int, most: int) -> int:
    """Return the batch size of the fewest equal batches: 25 frames by 16 are two batches of 13."""
    assert most >= 1
    return -(-frames // -(-frames // most))


def _read_ahead(
    read_event: ReadEvent, events: range, event_ids: Sequence[str], layout: StoreLayout
) -> Iterator[np.ndarray]:
    with ThreadPoolExecutor(1, thread_name_prefix="read-event") as executor:
        upcoming = executor.submit(read_event, events[0])
        for event in events:
            frames = np.asarray(upcoming.result())
            if event + 1 < events.stop:
                upcoming = executor.submit(read_event, event + 1)
            yield _check_frames(frames, event_ids[event], layout)


def _check_frames(frames: np.ndarray, event_id: str, layout: StoreLayout) -> np.ndarray:
    if frames.ndim != 4 or len(frames) != layout.num_frames or frames.shape[3] != 1:
        raise UserError(
            f"event {event_id}: frames of shape {frames.shape} instead of "
            f"({layout.num_frames}, height, width, 1)"
        )
    frames = frames.astype(np.float32, copy=False)
    if not np.isfinite(frames).all():
        raise UserError(f"event {event_id}: its frames have values that are not finite")
    return frames


def _encode_batch(
    encode: Encode, batch: np.ndarray, size: int, layout: StoreLayout
) -> tuple[np.ndarray, np.ndarray]:
    padding = np.zeros((size - len(batch), *batch.shape[1:]), np.float32)
    mean, std = encode(np.concatenate([batch, padding]) if len(padding) else batch)
    expected = (size, *layout.latent_shape)
    if mean.shape != expected or std.shape != expected:
        raise UserError(
            f"the VAE gives latents of shape {mean.shape[1:]}, the store is of "
            f"{layout.latent_shape}: check the latent shape in the configuration"
        )
    return mean[: len(batch)], std[: len(batch)]


def _to_float16(values: np.ndarray, what: str, event_id: str) -> np.ndarray:
    if not np.isfinite(values).all():
        raise UserError(
            f"event {event_id}: the VAE gives a latent {what} that is not finite; "
            "its weights or this event's frames are broken"
        )
    largest = float(np.abs(values).max())
    if largest > FLOAT16_MAX:
        raise UserError(
            f"event {event_id}: the latent {what} reaches {largest:.4g}, more than float16 "
            f"holds ({FLOAT16_MAX:.0f}); this VAE is not trained well enough to be cached"
        )
    return values.astype(np.float16)
