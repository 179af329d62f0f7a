"""Sampled forecasts of a few validation windows, as pictures of every validation.

The windows and their noise are the same each time, so a picture changes only with the weights.
Letters: N window, M member, T frames, H, W pixels; h, w, c of a latent frame.
"""

from collections.abc import Callable

import mindspore as ms
import numpy as np
from mindspore import nn

from hpc.monitor.tensorboard_writer import TensorBoardWriter
from hpc.train.without_dropout import without_dropout
from prediff.config import Config
from prediff.data.open_data import open_split, run_quantity
from prediff.diffusion import Sampler, sample_ensemble
from prediff.pictures.frame_rows import frame_rows
from prediff.pictures.ground import Ground
from prediff.run_folder import RunFolder
from prediff.trained_networks import load_autoencoder
from prediff.training.diffusion_network import diffusion_path
from prediff.training.latents import TrainingLatents

MEMBERS = 2
FRAMES_SHOWN = 6

Sample = Callable[[], np.ndarray]


class ForecastPictures:
    """Draws forecasts of the validation windows with most rain; loads and compiles at first use.

    Args:
        count: of the windows; 0 draws nothing.
    """

    def __init__(
        self, folder: RunFolder, config: Config, latents: TrainingLatents, *, count: int
    ) -> None:
        self._folder, self._config, self._latents = folder, config, latents
        self._positions = _rainiest(latents, count=count) if count else np.array([], int)
        self._sampler: Sampler | None = None
        self._decoder: nn.Cell | None = None
        self._truth = np.array([])
        self._ground = Ground()

    def __call__(self, network: nn.Cell, board: TensorBoardWriter, step: int) -> None:
        """Add a picture per window: what came, and members of the forecast, lead times across."""
        if not len(self._positions):
            return
        with without_dropout(network):
            forecasts = self._forecasts(network)
        minutes = self._latents.cadence_minutes
        shown = _thinned(self._truth.shape[1], FRAMES_SHOWN)
        titles = [f"{(1 + lead) * minutes:+g} min" for lead in shown]
        for number, members in enumerate(forecasts):
            rows = {"radar": self._truth[number, shown]}
            rows |= {f"member {k + 1}": member[shown] for k, member in enumerate(members)}
            picture = frame_rows(
                rows, titles=titles, ground=self._ground, quantity=run_quantity(self._config)
            )
            board.picture(f"pictures/forecast_{number}", picture, step=step)

    def _forecasts(self, network: nn.Cell) -> np.ndarray:
        """Return ``[N, M, T, H, W]`` in [0, 1], about."""
        config = self._config
        if self._sampler is None or self._decoder is None:
            self._decoder = load_autoencoder(self._folder, config).decoder
            self._sampler = Sampler(
                network,
                schedule=diffusion_path(config),
                parameterization=config.diffusion.parameterization,
                guidance=None,
            )
            with open_split(self._folder, config, "validation") as windows:
                frames = windows.read_windows(self._positions)[..., 0]
                event = int(windows.windows[self._positions[0]][0])
                metres = windows.pixel_metres(event)
            self._truth = frames[:, config.data.context_frames :]
            self._ground = Ground(kilometres_per_pixel=metres / 1000)
        clean, condition = self._latents.validation.read(self._positions, samples=self._positions)
        latents = sample_ensemble(
            self._sampler,
            condition=condition,
            sample_shape=clean.shape[1:],
            members=range(MEMBERS),
            seed=config.seed,
            steps=config.forecast.steps,
            solver=config.forecast.solver,
            batch_size=len(self._positions) * MEMBERS,
            cases=self._positions.tolist(),
        )
        scale = np.float32(self._latents.scale)
        decoded = [
            [self._decoder(ms.Tensor(member / scale)).asnumpy()[..., 0] for member in window]
            for window in latents
        ]
        return np.array(decoded)


def _rainiest(latents: TrainingLatents, *, count: int) -> np.ndarray:
    """Return the positions of the scored windows with the highest mean intensity."""
    positions = np.unique(latents.scored)
    intensity = latents.validation.read_intensity(positions).mean(axis=(1, 2))
    return positions[np.argsort(-intensity, kind="stable")[:count]]


def _thinned(length: int, most: int) -> list[int]:
    return np.unique(np.linspace(0, length - 1, min(length, most)).round().astype(int)).tolist()
