"""The cached latents of the training and the validation split, as two networks train on them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from prediff.config import Config
from prediff.data.dataset import RadarWindows
from prediff.data.open_data import open_split
from prediff.latents.cache import open_latents
from prediff.latents.windows import LatentWindows
from prediff.run_folder import RunFolder

VALIDATION_WINDOWS = 64


@dataclass(frozen=True)
class TrainingLatents:
    """Windows of latents, scaled alike."""

    training: LatentWindows
    validation: LatentWindows
    scale: float
    """On the target latents, the published constant or 1 / their deviation."""
    cadence_minutes: float

    @property
    def scored(self) -> np.ndarray:
        """Positions of the validation windows that are scored, spread evenly."""
        return np.linspace(0, len(self.validation) - 1, VALIDATION_WINDOWS).astype(int)


@contextmanager
def training_latents(folder: RunFolder, config: Config) -> Iterator[TrainingLatents]:
    """Open the latents of both splits.

    Raises:
        UserError: there are none; or they are damaged, or of another autoencoder or catalog.
    """
    with (
        open_split(folder, config, "train", fixes_split=True) as windows,
        open_split(folder, config, "validation") as validation_windows,
    ):
        readers = open_latents(folder, config, windows)

        def latents_of(split: RadarWindows, *, scale: float) -> LatentWindows:
            return LatentWindows(
                readers,
                split,
                context_frames=config.data.context_frames,
                scale=scale,
                seed=config.seed,
            )

        if config.diffusion.latent_scale == "unit_variance":
            scale = 1.0 / latents_of(windows, scale=1.0).target_standard_deviation()
        else:
            scale = config.diffusion.latent_scale
        yield TrainingLatents(
            training=latents_of(windows, scale=scale),
            validation=latents_of(validation_windows, scale=scale),
            scale=scale,
            cadence_minutes=windows.cadence_minutes,
        )
