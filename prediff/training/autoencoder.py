"""How the frame-wise autoencoder is trained on single frames (MODEL section 3)."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import nn

from hpc.cluster.runtime import ALONE, Runtime
from hpc.monitor.tensorboard_writer import TensorBoardWriter
from hpc.randomness import keyed_normal
from hpc.train.step import TrainStep
from prediff.config import Config
from prediff.data.augmentation import AugmentationMode, augment
from prediff.data.dataset import RadarWindows
from prediff.data.open_data import open_split, run_quantity
from prediff.models import build_autoencoder
from prediff.models.adversarial_loss import DiscriminatorLoss, GeneratorLoss
from prediff.models.autoencoder import Autoencoder
from prediff.models.autoencoder_cost import training_operations
from prediff.models.discriminator import PatchDiscriminator, RankMean
from prediff.models.reconstruction_loss import ReconstructionLoss
from prediff.pictures.frame_rows import frame_rows
from prediff.run_folder import RunFolder
from prediff.training.adversarial_step import AdversarialStep
from prediff.training.parallel_step import whole_network_step
from prediff.training.parallelize import ON_ONE_PROCESS, Parallelism
from prediff.training.parallelize import parallelize as training_parallelism
from prediff.training.recipe import MakeInputs, Samples, Trainable
from prediff.training.validation import LossEvaluation

SCALAR_NAMES = ("mean_absolute_error", "kl_divergence")
AUGMENTATION_MODES: dict[str, AugmentationMode] = {
    "none": 0,
    "any_rotation": 1,
    "flips_and_quarter_turns": 2,
}
VALIDATION_FRAMES = 64
SHOWN_FRAMES = 6

logger = logging.getLogger(__name__)


class FrameBatches:
    """Makes the inputs of the loss Cell: augmented frames and posterior noise."""

    def __init__(self, frames: RadarWindows, config: Config, *, augmentation: str) -> None:
        self._frames = frames
        self._seed = config.seed
        self._mode = AUGMENTATION_MODES[augmentation]
        self._latent_shape = _latent_shape(config)

    def __call__(
        self, positions: np.ndarray, samples: np.ndarray, step: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return frames ``[B, H, W, 1]`` and standard normals ``[B, h, w, c]``.

        Args:
            positions: of the frames in the split.
            samples: global sample numbers, which key every draw.
            step: optimizer step, which keys every draw as well.
        """
        frames = augment(
            self._frames.read_frames(positions),
            mode=self._mode,
            seed=self._seed,
            samples=samples,
            step=step,
        )
        noise = keyed_normal(
            seed=self._seed,
            stream="autoencoder_posterior",
            samples=samples,
            step=step,
            shape=self._latent_shape,
        )
        return frames, noise


class AdversarialBatches:
    """The same inputs and the adversary's weight ``[B]``: 0 before its first step, then 1."""

    def __init__(self, batches: FrameBatches, *, start_step: int) -> None:
        self._batches, self._start_step = batches, start_step

    def __call__(
        self, positions: np.ndarray, samples: np.ndarray, step: int
    ) -> tuple[np.ndarray, ...]:
        """Return (frames, noise, adversarial weight); arguments as in `FrameBatches`."""
        weight = np.full(len(positions), step >= self._start_step, np.float32)
        return (*self._batches(positions, samples, step), weight)


def parallelize(config: Config, *, ranks: int) -> Parallelism:
    """Return how ranks share the samples; see `prediff.training.parallelize`."""
    settings = config.train_autoencoder
    is_adversarial = settings.adversarial.start_step is not None
    return training_parallelism(
        settings=settings,
        ranks=ranks,
        summation_shards=None if is_adversarial else settings.summation_shards,
    )


def build(
    config: Config, *, runtime: Runtime = ALONE, parallelism: Parallelism = ON_ONE_PROCESS
) -> Trainable:
    """Return the autoencoder with its step; it is scored without the adversary."""
    autoencoder = build_autoencoder(config)
    return Trainable(
        network=autoencoder,
        step=build_step(autoencoder, config, runtime=runtime, parallelism=parallelism),
        evaluation=LossEvaluation(
            ReconstructionLoss(autoencoder, kl_weight=config.train_autoencoder.kl_weight)
        ),
        scores=SCALAR_NAMES,
    )


def build_step(
    autoencoder: Autoencoder,
    config: Config,
    *,
    runtime: Runtime = ALONE,
    parallelism: Parallelism = ON_ONE_PROCESS,
) -> TrainStep | AdversarialStep:
    """Return the step that trains an autoencoder, with a discriminator if one is configured."""
    settings, adversarial = config.train_autoencoder, config.train_autoencoder.adversarial
    parameters = dict(autoencoder.parameters_and_names())
    own: dict[str, Any] = {
        "weight_decay": settings.weight_decay,
        "betas": settings.betas,
        "max_norm": settings.gradient_clip,
    }
    if adversarial.start_step is None:
        if settings.summation_shards and not parallelism.summation_shards and runtime.is_first:
            logger.warning(
                "%d data ranks do not divide %d summation shards: losses will differ in the last "
                "bits from those of another number of ranks",
                parallelism.mesh.data,
                settings.summation_shards,
            )
        loss = ReconstructionLoss(autoencoder, kl_weight=settings.kl_weight).set_train(True)
        return whole_network_step(
            loss, parameters, parallelism, runtime, scalar_names=SCALAR_NAMES, **own
        )
    group = runtime.data_group(parallelism.mesh)
    reduce_mean = RankMean(group=group, size=parallelism.mesh.data) if group is not None else None
    discriminator = PatchDiscriminator(
        base_width=adversarial.base_width, reduce_mean=reduce_mean, seed=config.seed
    )
    generator_loss = GeneratorLoss(
        autoencoder,
        discriminator,
        kl_weight=settings.kl_weight,
        discriminator_weight=adversarial.weight,
        reduce_mean=reduce_mean,
    )
    return AdversarialStep(
        whole_network_step(
            generator_loss.set_train(True),
            parameters,
            parallelism,
            runtime,
            scalar_names=(*SCALAR_NAMES, "generator_score", "adaptive_weight"),
            **own,
        ),
        whole_network_step(
            DiscriminatorLoss(autoencoder, discriminator).set_train(True),
            dict(discriminator.parameters_and_names()),
            parallelism,
            runtime,
            scalar_names=("real_score", "reconstruction_score"),
            weight_decay=0.0,
            betas=adversarial.betas,
            max_norm=adversarial.gradient_clip,
        ),
        discriminator_rate=adversarial.learning_rate,
    )


@contextmanager
def open_samples(folder: RunFolder, config: Config) -> Iterator[Samples]:
    """Open the frames of both splits; see `prediff.training.recipe.Recipe`."""
    settings = config.train_autoencoder
    with (
        open_split(folder, config, "train", fixes_split=True) as frames,
        open_split(folder, config, "validation") as validation,
    ):
        chosen = np.linspace(0, validation.frame_count - 1, VALIDATION_FRAMES).astype(int)

        def show(network: nn.Cell, board: TensorBoardWriter, step: int) -> None:
            shown = validation.read_frames(chosen[:: len(chosen) // SHOWN_FRAMES][:SHOWN_FRAMES])
            mean, _ = network.encode(ms.Tensor(shown))
            decoded = network.decode(mean).asnumpy()
            picture = frame_rows(
                {"radar": shown[..., 0], "reconstruction": decoded[..., 0]},
                quantity=run_quantity(config),
            )
            board.picture("pictures/reconstructions", picture, step=step)

        batches = FrameBatches(frames, config, augmentation=settings.augmentation)
        start_step = settings.adversarial.start_step
        yield Samples(
            count=frames.frame_count,
            make_inputs=batches
            if start_step is None
            else AdversarialBatches(batches, start_step=start_step),
            make_validation_inputs=FrameBatches(validation, config, augmentation="none"),
            validation=chosen,
            show=show,
        )


def made_up_inputs(config: Config) -> MakeInputs:
    """Return what makes random frames and noise, and the adversary's full weight."""

    def make(positions: np.ndarray, samples: np.ndarray, step: int) -> tuple[np.ndarray, ...]:
        count, random, size = len(positions), np.random.default_rng(step), config.data.frame_size
        frames = random.random((count, size, size, 1), np.float32)
        noise = random.standard_normal((count, *_latent_shape(config)), np.float32)
        if config.train_autoencoder.adversarial.start_step is None:
            return frames, noise
        return frames, noise, np.ones(count, np.float32)

    return make


def forward(config: Config, *, samples: int) -> tuple[nn.Cell, Callable[[], Any]]:
    """Return the autoencoder and a call that runs it on zeros."""
    autoencoder, size = build_autoencoder(config), config.data.frame_size
    frames = ms.Tensor(np.zeros((samples, size, size, 1), np.float32))
    noise = ms.Tensor(np.zeros((samples, *_latent_shape(config)), np.float32))
    return autoencoder, lambda: autoencoder(frames, noise)


def operations(config: Config) -> float:
    """Return the operations of a frame's forward and backward pass, the adversary's included."""
    return training_operations(config)


def _latent_shape(config: Config) -> tuple[int, int, int]:
    return (config.latent_size, config.latent_size, config.autoencoder.latent_channels)
