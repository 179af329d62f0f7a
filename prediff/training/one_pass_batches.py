"""Batches for the training of the one-pass network: frames, their extrapolation, and noise.

Letters: B batch, M member, T frames, H, W pixels.
"""

from typing import Protocol

import numpy as np

from hpc.randomness import keyed_generator
from prediff.data.augmentation import DIHEDRAL_VARIANTS, dihedral
from prediff.data.extrapolation import extrapolate

TRAINED_MEMBERS = 2
"""Members whose CRPS is trained on: almost-fair CRPS is right in the mean for two."""
CACHED_BYTES = 256 * 1024**2


class Windows(Protocol):
    """What is trained on: windows of frames, context and target together."""

    def __len__(self) -> int: ...

    def read_frames_of(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return frames ``[B, T, H, W]`` float32 in [0, 1] and the minutes between them, [B]."""
        ...


class OnePassBatches:
    """Makes the inputs of the loss Cell for any global samples, whichever rank asks.

    Args:
        windows: of the split.
        context_frames: frames of a window that are seen.
        noise_numbers: draws of a member.
        seed: of the run.
        turns: whether each sample gets one of the eight symmetries of the square.
        gain: standard deviation of the logarithm of a common factor on a sample's values.
        with_motion: whether the frames are extrapolated along their motion, or held still.
    """

    def __init__(
        self,
        windows: Windows,
        *,
        context_frames: int,
        noise_numbers: int,
        seed: int,
        turns: bool = False,
        gain: float = 0.0,
        with_motion: bool = True,
    ) -> None:
        self.windows = windows
        self._context_frames, self._noise_numbers = context_frames, noise_numbers
        self._seed, self._turns, self._gain = seed, turns, gain
        self._with_motion = with_motion
        self._extrapolated: dict[int, np.ndarray] = {}

    def __call__(
        self, positions: np.ndarray, samples: np.ndarray, step: int
    ) -> tuple[np.ndarray, ...]:
        """Return (context, extrapolation, minutes, noise, target), the first axis being B.

        Args:
            positions: of the windows in the split.
            samples: global sample numbers, which key every draw.
            step: optimizer step, which keys every draw as well.
        """
        frames, minutes = self.windows.read_frames_of(positions)
        seen, coming = frames[:, : self._context_frames], frames[:, self._context_frames :]
        moved = np.stack(
            [
                self._extrapolation(int(position), context, coming.shape[1])
                for position, context in zip(positions, seen, strict=True)
            ]
        )
        whole = np.concatenate([seen, coming, moved], axis=1)
        noise = np.empty((len(whole), TRAINED_MEMBERS, self._noise_numbers), np.float32)
        for row, draws, sample in zip(whole, noise, samples, strict=True):
            generator = keyed_generator(
                seed=self._seed, stream="one_pass", sample=int(sample), step=step
            )
            if self._turns:
                variant = int(generator.integers(len(DIHEDRAL_VARIANTS)))
                row[...] = dihedral(row[..., None], variant=variant)[..., 0]
            if self._gain:
                factor = np.float32(np.exp(self._gain * generator.standard_normal()))
                row[...] = np.where(row > 0, np.minimum(row * factor, 1.0), row)
            generator.standard_normal(dtype=np.float32, out=draws)
        count = self._context_frames
        targets = whole[:, count : count + coming.shape[1]]
        context, extrapolation = whole[:, :count], whole[:, count + coming.shape[1] :]
        return context, extrapolation, minutes.astype(np.float32), noise, targets

    def _extrapolation(self, position: int, context: np.ndarray, frames: int) -> np.ndarray:
        """Return what `extrapolate` gives for a window; it is computed once, while memory lasts."""
        if not self._with_motion:
            return np.repeat(context[-1:], frames, axis=0)
        found = self._extrapolated.get(position)
        if found is None:
            found = extrapolate(context_THW=context, forecast_frames=frames)
            if (len(self._extrapolated) + 1) * found.nbytes <= CACHED_BYTES:
                self._extrapolated[position] = found
        return found
