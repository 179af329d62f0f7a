"""Stage: train the knowledge-alignment network on cached latents (MODEL section 5).

Letters: B batch, T forecast frames, h, w, c height, width and channels of a latent frame.
"""

import numpy as np

from hpc.cluster.mesh import make_mesh
from hpc.cluster.runtime import Runtime
from hpc.cluster.stop import StopRequest
from hpc.train.compile_cache import Compiler
from hpc.train.step import TrainStep
from prediff.config import Config
from prediff.diffusion import AlignmentLoss, NoiseSchedule, noise_schedule
from prediff.latents.windows import LatentWindows
from prediff.models import build_alignment
from prediff.models.alignment_cost import alignment_cost
from prediff.models.alignment_network import AlignmentNetwork
from prediff.models.cost import TRAINING_PASSES
from prediff.run_folder import RunFolder
from prediff.training.denoiser import DenoiserBatches
from prediff.training.latents import training_latents
from prediff.training.loop import Drive, TrainingStage, accumulation, train
from prediff.training.validation import LossEvaluation, mean_over_batches

STAGE = "alignment"
VALIDATION_WINDOWS = 64


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
        self._batches = DenoiserBatches(latents, config)

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


def build_step(
    alignment: AlignmentNetwork,
    config: Config,
    *,
    data_group: str | None = None,
    data_size: int = 1,
) -> tuple[AlignmentLoss, TrainStep]:
    """Return the loss of an alignment network and the step that trains it.

    Args:
        alignment: the network to train.
        data_group: communication group of the data-parallel ranks, None for one process.
        data_size: ranks in it.
    """
    settings = config.train_alignment
    loss = AlignmentLoss(alignment, schedule=alignment_schedule(config))
    loss.set_train(True)
    step = TrainStep(
        loss,
        dict(alignment.parameters_and_names()),
        scalar_names=AlignmentLoss.SCALARS,
        accumulation=accumulation(settings, data_ranks=data_size),
        data_group=data_group,
        data_size=data_size,
        weight_decay=settings.weight_decay,
        max_norm=settings.gradient_clip,
        ema_decay=None,
    )
    return loss, step


def train_alignment(
    folder: RunFolder,
    config: Config,
    runtime: Runtime,
    *,
    stop: StopRequest,
    drive: Drive = train,
) -> None:
    """Train the alignment network from its newest checkpoint to its last step.

    Args:
        drive: what is done with the stage; the profiler makes some steps and keeps nothing.

    Raises:
        UserError: no latents, a batch that the ranks do not divide, damaged state.
        Stopped: asked to stop; a checkpoint was saved.
    """
    settings = config.train_alignment
    mesh = make_mesh(ranks=runtime.place.size, global_batch=settings.global_batch)
    with training_latents(folder, config) as latents:
        loss, step = build_step(
            build_alignment(config),
            config,
            data_group=runtime.data_group(mesh),
            data_size=mesh.data,
        )
        chosen = np.linspace(0, len(latents.validation) - 1, VALIDATION_WINDOWS).astype(int)

        def validate(compiler: Compiler) -> dict[str, float]:
            return mean_over_batches(
                LossEvaluation(loss),
                AlignmentBatches(latents.validation, config),
                positions=chosen,
                batch=settings.global_batch // mesh.data,
                names=("loss", *AlignmentLoss.SCALARS),
                runtime=runtime,
                compiler=compiler,
                mesh=mesh,
            )

        drive(
            folder,
            config,
            runtime,
            mesh,
            TrainingStage(
                name=STAGE,
                settings=settings,
                step=step,
                num_samples=len(latents.training),
                operations=TRAINING_PASSES * alignment_cost(config).operations,
                make_inputs=AlignmentBatches(latents.training, config),
                validate=validate,
                best_by="loss",
                extra_state={
                    "latent_scale": latents.scale,
                    "climatology": latents.training.mean_intensity(),
                },
            ),
            stop=stop,
        )
