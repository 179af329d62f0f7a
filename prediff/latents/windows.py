"""Windows of latents as the denoiser trains on them: posterior samples with keyed noise.

Letters: B batch, T frames of a window, h, w, c height, width and channels of a latent frame.
"""

from collections.abc import Sequence

import numpy as np

from hpc.randomness import keyed_generator, keyed_normal
from prediff.data.dataset import RadarWindows
from prediff.latents.reader import LatentReader


class LatentWindows:
    """The windows of one split, read from the latent store.

    Args:
        readers: the store's groups, one an augmentation variant.
        windows: the split; its events are looked up in the store by name.
        context_frames: frames that condition the forecast.
        scale: factor on the target latents (``scale_factor`` of MODEL 4.2).
        seed: of the run.
    """

    def __init__(
        self,
        readers: Sequence[LatentReader],
        windows: RadarWindows,
        *,
        context_frames: int,
        scale: float,
        seed: int,
    ) -> None:
        self._readers = readers
        self._context_frames = context_frames
        self._scale = np.float32(scale)
        self._seed = seed
        self._length = windows.length
        numbers = {event_id: number for number, event_id in enumerate(readers[0].event_ids)}
        events = np.array([numbers[event.id] for event in windows.events])
        self._events = events[windows.windows[:, 0]]
        self._starts = windows.windows[:, 1]

    def __len__(self) -> int:
        return len(self._events)

    def read(self, positions: np.ndarray, *, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (target, condition), float32 ``[B, T, h, w, c]`` each.

        The target is a sample of the posterior, scaled; the condition is the posterior's mean,
        unscaled (MODEL 4.2).

        Args:
            positions: of the windows in the split, ``[B]``.
            samples: global sample numbers ``[B]``, which key the posterior noise and the variant.
        """
        mean, std = self._read_moments(positions, samples)
        target_mean = mean[:, self._context_frames :].astype(np.float32)
        noise = keyed_normal(
            seed=self._seed,
            stream="posterior",
            samples=samples,
            step=0,
            shape=target_mean.shape[1:],
        )
        noise *= std[:, self._context_frames :]
        noise += target_mean
        noise *= self._scale
        return noise, mean[:, : self._context_frames].astype(np.float32)

    def read_intensity(self, positions: np.ndarray) -> np.ndarray:
        """Return the mean pixel in [0, 1] of each target frame, float32 ``[B, T, 1]``.

        It is the same for every variant: flips and quarter turns only move pixels.
        """
        intensity = self._readers[0].read_array(
            "intensity",
            events=self._events[positions],
            starts=self._starts[positions],
            length=self._length,
        )
        return intensity[:, self._context_frames :, None]

    def mean_intensity(self, windows: int = 256) -> float:
        """Return the mean pixel of the target frames, over at most so many windows."""
        chosen = np.unique(np.linspace(0, len(self) - 1, windows).astype(int))
        return float(self.read_intensity(chosen).mean(dtype=np.float64))

    def target_standard_deviation(self, windows: int = 256) -> float:
        """Return the standard deviation of the unscaled latents, over at most so many windows."""
        chosen = np.unique(np.linspace(0, len(self) - 1, windows).astype(int))
        mean, std = self._readers[0].read_windows(
            events=self._events[chosen], starts=self._starts[chosen], length=self._length
        )
        values = mean.astype(np.float64)
        return float(np.sqrt(values.var() + np.mean(np.square(std.astype(np.float64)))))

    def _read_moments(
        self, positions: np.ndarray, samples: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        if len(self._readers) == 1:
            return self._readers[0].read_windows(
                events=self._events[positions], starts=self._starts[positions], length=self._length
            )
        shape = (len(positions), self._length, *self._readers[0].layout.latent_shape)
        mean, std = np.empty(shape, np.float16), np.empty(shape, np.float16)
        for row, (position, sample) in enumerate(zip(positions, samples, strict=True)):
            generator = keyed_generator(
                seed=self._seed, stream="latent_variant", sample=int(sample)
            )
            reader = self._readers[int(generator.integers(len(self._readers)))]
            reader.read_windows(
                events=self._events[position : position + 1],
                starts=self._starts[position : position + 1],
                length=self._length,
                out=(mean[row : row + 1], std[row : row + 1]),
            )
        return mean, std
