"""How the knowledge-alignment network is trained on cached latents (MODEL section 5).

Letters: B batch, T forecast frames, h, w, c height, width and channels of a latent frame.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import nn

from hpc.cluster.runtime import ALONE, Runtime
from prediff.config import Config
from prediff.diffusion import AlignmentLoss, NoiseSchedule, noise_schedule
from prediff.latents.windows import LatentWindows
from prediff.models import build_alignment
from prediff.models.alignment_cost import alignment_cost
from prediff.models.cost import TRAINING_PASSES
from prediff.run_folder import RunFolder
from prediff.training import denoiser
from prediff.training.latents import training_latents
from prediff.training.parallel_step import whole_network_step
from prediff.training.parallelize import ON_ONE_PROCESS, Parallelism
from prediff.training.parallelize import parallelize as training_parallelism
from prediff.training.recipe import MakeInputs, Samples, Trainable
from prediff.training.validation import LossEvaluation


def alignment_schedule(config: Config) -> NoiseSchedule:
    """Return the noise schedule that the network learns to read.

    It is the denoiser's; on the straight path of flow matching, which has no posterior variance
    for guidance to follow, it is the linear schedule.
    """
    name = config.diffusion.noise_schedule
    return noise_schedule(
        name="linear" if name == "straight" else name, num_steps=config.diffusion.noise_steps
    )


class AlignmentBatches:
    """Makes the inputs of the loss Cell: the denoiser's without the condition, and intensities."""

    def __init__(self, latents: LatentWindows, config: Config) -> None:
        self._latents = latents
        self._batches = denoiser.DenoiserBatches(latents, config)

    def __call__(
        self, positions: np.ndarray, samples: np.ndarray, step: int
    ) -> tuple[np.ndarray, ...]:
        """Return (clean, noise, step, intensity, dropout key), the first axis being B.

        Args:
            positions: of the windows in the split.
            samples: global sample numbers, which key every draw.
            step: optimizer step, which keys every draw as well.
        """
        clean, noise, noise_step, _, dropout_key = self._batches(positions, samples, step)
        return clean, noise, noise_step, self._latents.read_intensity(positions), dropout_key


def parallelize(config: Config, *, ranks: int) -> Parallelism:
    """Return how ranks share the samples; see `prediff.training.parallelize`."""
    return training_parallelism(settings=config.train_alignment, ranks=ranks)


def build(
    config: Config, *, runtime: Runtime = ALONE, parallelism: Parallelism = ON_ONE_PROCESS
) -> Trainable:
    """Return the alignment network with its step."""
    settings, alignment = config.train_alignment, build_alignment(config)
    loss = AlignmentLoss(alignment, schedule=alignment_schedule(config))
    step = whole_network_step(
        loss.set_train(True),
        dict(alignment.parameters_and_names()),
        parallelism,
        runtime,
        scalar_names=AlignmentLoss.SCALARS,
        weight_decay=settings.weight_decay,
        max_norm=settings.gradient_clip,
    )
    return Trainable(
        network=alignment,
        step=step,
        evaluation=LossEvaluation(loss),
        scores=AlignmentLoss.SCALARS,
    )


@contextmanager
def open_samples(folder: RunFolder, config: Config) -> Iterator[Samples]:
    """Open the latents of both splits; see `prediff.training.recipe.Recipe`."""
    with training_latents(folder, config) as latents:
        yield Samples(
            count=len(latents.training),
            make_inputs=AlignmentBatches(latents.training, config),
            make_validation_inputs=AlignmentBatches(latents.validation, config),
            validation=latents.scored,
            state={
                "latent_scale": latents.scale,
                "climatology": latents.training.mean_intensity(),
            },
        )


def made_up_inputs(config: Config) -> MakeInputs:
    """Return what makes random latents, noise, steps, intensities and keys."""
    of_denoiser = denoiser.made_up_inputs(config)

    def make(positions: np.ndarray, samples: np.ndarray, step: int) -> tuple[np.ndarray, ...]:
        clean, noise, noise_step, _, keys = of_denoiser(positions, samples, step)
        shape = (len(positions), config.data.forecast_frames, 1)
        intensity = np.random.default_rng(step).random(shape, np.float32)
        return clean, noise, noise_step, intensity, keys

    return make


def forward(config: Config, *, samples: int) -> tuple[nn.Cell, Callable[[], Any]]:
    """Return the alignment network and a call that runs it on zeros."""
    alignment = build_alignment(config)
    future, _ = denoiser.latent_shapes(config)
    latents = ms.Tensor(np.zeros((samples, *future), np.float32))
    steps = ms.Tensor(np.zeros(samples, np.int32))
    return alignment, lambda: alignment(latents, steps)


def operations(config: Config) -> float:
    """Return the operations of a window's forward and backward pass."""
    return TRAINING_PASSES * alignment_cost(config).operations
