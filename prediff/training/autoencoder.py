"""Stage: train the frame-wise autoencoder on single frames (MODEL section 3)."""

from typing import Any

import mindspore as ms
import numpy as np

from hpc.cluster.mesh import Mesh, make_mesh
from hpc.cluster.runtime import ALONE, Runtime
from hpc.cluster.stop import StopRequest
from hpc.monitor.tensorboard_writer import TensorBoardWriter
from hpc.randomness import keyed_normal
from hpc.train.compile_cache import Compiler
from hpc.train.step import TrainStep
from hpc.train.tree_sum import summation_tree
from prediff.config import Config
from prediff.data.augmentation import AugmentationMode, augment
from prediff.data.dataset import RadarWindows
from prediff.data.open_data import open_split
from prediff.models import build_autoencoder
from prediff.models.adversarial_loss import DiscriminatorLoss, GeneratorLoss
from prediff.models.autoencoder import Autoencoder
from prediff.models.autoencoder_cost import training_operations
from prediff.models.discriminator import PatchDiscriminator, RankMean
from prediff.models.reconstruction_loss import ReconstructionLoss
from prediff.pictures.frame_rows import frame_rows
from prediff.run_folder import RunFolder
from prediff.training.adversarial_step import AdversarialStep
from prediff.training.loop import Drive, TrainingStage, accumulation, train
from prediff.training.validation import LossEvaluation, mean_over_batches

STAGE = "autoencoder"
SCALAR_NAMES = ("mean_absolute_error", "kl_divergence")
AUGMENTATION_MODES: dict[str, AugmentationMode] = {
    "none": 0,
    "any_rotation": 1,
    "flips_and_quarter_turns": 2,
}
VALIDATION_FRAMES = 64
SHOWN_FRAMES = 6


class FrameBatches:
    """Makes the inputs of the loss Cell: augmented frames and posterior noise."""

    def __init__(self, frames: RadarWindows, config: Config, *, augmentation: str) -> None:
        self._frames = frames
        self._seed = config.seed
        self._mode = AUGMENTATION_MODES[augmentation]
        self._latent_shape = (
            config.latent_size,
            config.latent_size,
            config.autoencoder.latent_channels,
        )

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


def build_step(
    autoencoder: Autoencoder, config: Config, *, runtime: Runtime = ALONE, mesh: Mesh | None = None
) -> TrainStep | AdversarialStep:
    """Return the step that trains an autoencoder, with a discriminator if one is configured.

    Args:
        autoencoder: the network to train.
        runtime: the ranks; by default one process.
        mesh: their order.
    """
    mesh, settings = mesh or Mesh(), config.train_autoencoder
    data_group, data_size = runtime.data_group(mesh), mesh.data
    shared: dict[str, Any] = {
        "accumulation": accumulation(settings, data_ranks=data_size),
        "data_group": data_group,
        "data_size": data_size,
        "weight_decay": settings.weight_decay,
        "ema_decay": None,
    }
    own: dict[str, Any] = {
        "parameters": dict(autoencoder.parameters_and_names()),
        "betas": settings.betas,
        "max_norm": settings.gradient_clip,
    }
    adversarial = settings.adversarial
    if adversarial.start_step is None:
        loss = ReconstructionLoss(autoencoder, kl_weight=settings.kl_weight).set_train(True)
        if settings.summation_shards is not None:
            tree = summation_tree(
                runtime,
                mesh,
                shards=settings.summation_shards,
                global_batch=settings.global_batch,
            )
            if tree is not None:
                shared |= {"tree": tree, "accumulation": tree.own_shards}
        return TrainStep(loss, scalar_names=SCALAR_NAMES, **own, **shared)
    reduce_mean = RankMean(group=data_group, size=data_size) if data_group is not None else None
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
        TrainStep(
            generator_loss.set_train(True),
            scalar_names=(*SCALAR_NAMES, "generator_score", "adaptive_weight"),
            **own,
            **shared,
        ),
        TrainStep(
            DiscriminatorLoss(autoencoder, discriminator).set_train(True),
            dict(discriminator.parameters_and_names()),
            scalar_names=("real_score", "reconstruction_score"),
            betas=adversarial.betas,
            max_norm=adversarial.gradient_clip,
            **{**shared, "weight_decay": 0.0},
        ),
        discriminator_rate=adversarial.learning_rate,
    )


def train_autoencoder(
    folder: RunFolder,
    config: Config,
    runtime: Runtime,
    *,
    stop: StopRequest,
    drive: Drive = train,
) -> None:
    """Train the autoencoder from its newest checkpoint to its last step.

    Args:
        drive: what is done with the stage; the profiler makes some steps and keeps nothing.

    Raises:
        UserError: no usable data, a batch that the ranks do not divide, damaged state.
        Stopped: asked to stop; a checkpoint was saved.
    """
    settings = config.train_autoencoder
    mesh = make_mesh(ranks=runtime.place.size, global_batch=settings.global_batch)
    autoencoder = build_autoencoder(config)
    step = build_step(autoencoder, config, runtime=runtime, mesh=mesh)
    loss = ReconstructionLoss(autoencoder, kl_weight=settings.kl_weight)
    with (
        open_split(folder, config, "train") as frames,
        open_split(folder, config, "validation") as validation,
    ):
        chosen = np.linspace(0, validation.frame_count - 1, VALIDATION_FRAMES).astype(int)
        fixed = FrameBatches(validation, config, augmentation="none")
        batches = FrameBatches(frames, config, augmentation=settings.augmentation)
        start_step = settings.adversarial.start_step

        def validate(compiler: Compiler) -> dict[str, float]:
            return mean_over_batches(
                LossEvaluation(loss),
                fixed,
                positions=chosen,
                batch=settings.global_batch // mesh.data,
                names=("loss", *SCALAR_NAMES),
                runtime=runtime,
                compiler=compiler,
                mesh=mesh,
            )

        def show(board: TensorBoardWriter, done: int) -> None:
            shown = validation.read_frames(chosen[:: len(chosen) // SHOWN_FRAMES][:SHOWN_FRAMES])
            mean, _ = autoencoder.encode(ms.Tensor(shown))
            decoded = autoencoder.decode(mean).asnumpy()
            picture = frame_rows({"radar": shown[..., 0], "reconstruction": decoded[..., 0]})
            board.picture("pictures/reconstructions", picture, step=done)

        drive(
            folder,
            config,
            runtime,
            mesh,
            TrainingStage(
                name=STAGE,
                settings=settings,
                step=step,
                num_samples=frames.frame_count,
                operations=training_operations(config),
                make_inputs=batches
                if start_step is None
                else AdversarialBatches(batches, start_step=start_step),
                validate=validate,
                show=show,
                best_by="loss",
            ),
            stop=stop,
        )
