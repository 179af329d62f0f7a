"""Stage: train the frame-wise autoencoder on single frames (MODEL section 3)."""

import mindspore as ms
import numpy as np

from hpc.mesh import make_mesh
from hpc.monitor.board import Board
from hpc.randomness import keyed_normal
from hpc.runtime import Runtime
from hpc.step import TrainStep
from hpc.stop import StopRequest
from prediff.config import Config
from prediff.data.augmentation import AugmentationMode, augment
from prediff.data.dataset import RadarWindows
from prediff.models import build_autoencoder
from prediff.models.reconstruction_loss import ReconstructionLoss
from prediff.pictures.frame_rows import frame_rows
from prediff.stages.open_data import open_split
from prediff.stages.run_folder import RunFolder
from prediff.stages.training import TrainingStage, accumulation, train
from prediff.stages.validation import mean_over_batches

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


def train_autoencoder(
    folder: RunFolder, config: Config, runtime: Runtime, *, stop: StopRequest
) -> None:
    """Train the autoencoder from its newest checkpoint to its last step.

    Raises:
        UserError: no usable data, a batch that the ranks do not divide, damaged state.
        Stopped: asked to stop; a checkpoint was saved.
    """
    settings = config.train_autoencoder
    mesh = make_mesh(ranks=runtime.place.size, global_batch=settings.global_batch)
    autoencoder = build_autoencoder(config)
    loss = ReconstructionLoss(autoencoder, kl_weight=settings.kl_weight)
    loss.set_train(True)
    step = TrainStep(
        loss,
        dict(autoencoder.parameters_and_names()),
        scalar_names=SCALAR_NAMES,
        accumulation=accumulation(settings, data_ranks=mesh.data),
        data_group=runtime.data_group(mesh),
        data_size=mesh.data,
        weight_decay=settings.weight_decay,
        max_norm=settings.gradient_clip,
        ema_decay=None,
    )
    with (
        open_split(folder, config, "train") as frames,
        open_split(folder, config, "validation") as validation,
    ):
        chosen = np.linspace(0, validation.frame_count - 1, VALIDATION_FRAMES).astype(int)
        fixed = FrameBatches(validation, config, augmentation="none")

        def validate() -> dict[str, float]:
            return mean_over_batches(
                loss,
                fixed,
                positions=chosen,
                batch=settings.global_batch // mesh.data,
                names=("loss", *SCALAR_NAMES),
                runtime=runtime,
            )

        def show(board: Board, done: int) -> None:
            shown = validation.read_frames(chosen[:: len(chosen) // SHOWN_FRAMES][:SHOWN_FRAMES])
            mean, _ = autoencoder.encode(ms.Tensor(shown))
            decoded = autoencoder.decode(mean).asnumpy()
            picture = frame_rows({"radar": shown[..., 0], "reconstruction": decoded[..., 0]})
            board.picture(f"{STAGE}/reconstructions", picture, step=done)

        train(
            folder,
            config,
            runtime,
            mesh,
            TrainingStage(
                name=STAGE,
                settings=settings,
                step=step,
                num_samples=frames.frame_count,
                make_inputs=FrameBatches(frames, config, augmentation=settings.augmentation),
                validate=validate,
                show=show,
                best_by="loss",
            ),
            stop=stop,
        )
