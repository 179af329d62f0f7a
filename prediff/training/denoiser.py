"""How the denoiser is trained on cached latents (MODEL section 4).

Letters: B batch, T frames, h, w, c height, width and channels of a latent frame.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import nn

from hpc.cluster.runtime import ALONE, Runtime
from hpc.randomness import keyed_generator, keyed_normal
from prediff.config import Config
from prediff.latents.windows import LatentWindows
from prediff.models import build_denoiser
from prediff.models.cost import TRAINING_PASSES
from prediff.models.denoiser_cost import DenoiserCost
from prediff.run_folder import RunFolder
from prediff.training.denoiser_step import SCALAR_NAMES, build_step, evaluation_of
from prediff.training.diffusion_network import build_loss
from prediff.training.forecast_pictures import ForecastPictures
from prediff.training.latents import training_latents
from prediff.training.parallelize import ON_ONE_PROCESS, Parallelism, parallelize_denoiser
from prediff.training.recipe import MakeInputs, Samples, Trainable


class DenoiserBatches:
    """Makes the inputs of the loss Cell for any global samples, whichever rank asks."""

    def __init__(self, latents: LatentWindows, config: Config) -> None:
        self.latents = latents
        self._seed = config.seed
        self._noise_steps = config.diffusion.noise_steps

    def __call__(
        self, positions: np.ndarray, samples: np.ndarray, step: int
    ) -> tuple[np.ndarray, ...]:
        """Return (clean, noise, step, condition, dropout key), the first axis being B.

        Args:
            positions: of the windows in the split.
            samples: global sample numbers, which key every draw.
            step: optimizer step, which keys every draw as well.
        """
        clean, condition = self.latents.read(positions, samples=samples)
        noise = keyed_normal(
            seed=self._seed,
            stream="diffusion_noise",
            samples=samples,
            step=step,
            shape=clean.shape[1:],
        )
        draws = [
            keyed_generator(seed=self._seed, stream="noise_step", sample=int(s), step=step)
            for s in samples
        ]
        noise_step = np.array([g.integers(self._noise_steps) for g in draws], np.int32)
        dropout_key = np.array([g.integers(2**31 - 1) for g in draws], np.int32)
        return clean, noise, noise_step, condition, dropout_key


def parallelize(config: Config, *, ranks: int) -> Parallelism:
    """Return how ranks share the denoiser; see `prediff.training.parallelize`."""
    return parallelize_denoiser(config, ranks=ranks)


def build(
    config: Config, *, runtime: Runtime = ALONE, parallelism: Parallelism = ON_ONE_PROCESS
) -> Trainable:
    """Return the denoiser, or this rank's part of it, with its step."""
    loss = build_loss(config, recompute=parallelism.recomputes_in_blocks)
    step = build_step(loss, config, runtime=runtime, parallelism=parallelism)
    return Trainable(
        network=loss.denoiser,
        step=step,
        evaluation=evaluation_of(loss, step),
        scores=SCALAR_NAMES,
    )


@contextmanager
def open_samples(folder: RunFolder, config: Config) -> Iterator[Samples]:
    """Open the latents of both splits; see `prediff.training.recipe.Recipe`."""
    with training_latents(folder, config) as latents:
        yield Samples(
            count=len(latents.training),
            make_inputs=DenoiserBatches(latents.training, config),
            make_validation_inputs=DenoiserBatches(latents.validation, config),
            validation=latents.scored,
            show=ForecastPictures(folder, config, latents, count=_pictured(config)),
            state={"latent_scale": latents.scale, "cadence_minutes": latents.cadence_minutes},
        )


def _pictured(config: Config) -> int:
    """Return how many windows are drawn; none where no rank holds the whole network."""
    return config.train_diffusion.pictured_forecasts if config.parallel.pipeline == 1 else 0


def made_up_inputs(config: Config) -> MakeInputs:
    """Return what makes random latents, noise, steps and keys."""

    def make(positions: np.ndarray, samples: np.ndarray, step: int) -> tuple[np.ndarray, ...]:
        count, random = len(positions), np.random.default_rng(step)
        future, past = latent_shapes(config)
        clean, noise, condition = (
            random.standard_normal((count, *shape), np.float32) for shape in (future, future, past)
        )
        keys = samples.astype(np.int32)
        return clean, noise, keys % np.int32(config.diffusion.noise_steps), condition, keys

    return make


def forward(config: Config, *, samples: int) -> tuple[nn.Cell, Callable[[], Any]]:
    """Return the denoiser and a call that runs it on zeros."""
    denoiser = build_denoiser(config)
    future, past = (
        ms.Tensor(np.zeros((samples, *shape), np.float32)) for shape in latent_shapes(config)
    )
    steps = ms.Tensor(np.zeros(samples, np.int32))
    return denoiser, lambda: denoiser(future, steps, past)


def operations(config: Config) -> float:
    """Return the operations of a window's forward and backward pass."""
    return TRAINING_PASSES * DenoiserCost(config).total().operations


def latent_shapes(config: Config) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return ``(T, h, w, c)`` of the frames to forecast and of those before them."""
    data, side, channels = config.data, config.latent_size, config.autoencoder.latent_channels
    frames = (data.forecast_frames, data.context_frames)
    future, past = ((length, side, side, channels) for length in frames)
    return future, past
