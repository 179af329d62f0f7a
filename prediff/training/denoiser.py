"""Stage: train the denoiser on cached latents (MODEL section 4).

Letters: B batch, T frames, h, w, c height, width and channels of a latent frame.
"""

import numpy as np

from hpc.cluster.runtime import Runtime
from hpc.cluster.stop import StopRequest
from hpc.randomness import keyed_generator, keyed_normal
from hpc.train.compile_cache import Compiler
from prediff.config import Config
from prediff.latents.windows import LatentWindows
from prediff.models.cost import TRAINING_PASSES
from prediff.models.denoiser_cost import DenoiserCost
from prediff.run_folder import RunFolder
from prediff.training.denoiser_step import (
    SCALAR_NAMES,
    build_step,
    denoiser_mesh,
    evaluation_of,
)
from prediff.training.diffusion_network import build_loss
from prediff.training.latents import training_latents
from prediff.training.loop import Drive, TrainingStage, train
from prediff.training.one_pass import train_one_pass
from prediff.training.validation import mean_over_batches

STAGE = "diffusion"
VALIDATION_WINDOWS = 64


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


def train_diffusion(
    folder: RunFolder,
    config: Config,
    runtime: Runtime,
    *,
    stop: StopRequest,
    drive: Drive = train,
) -> None:
    """Train the denoiser from its newest checkpoint to its last step.

    Args:
        drive: what is done with the stage; the profiler makes some steps and keeps nothing.

    Raises:
        UserError: no latents, a mesh that cannot be, damaged state.
        Stopped: asked to stop; a checkpoint was saved.
    """
    if config.is_one_pass:
        train_one_pass(folder, config, runtime, stop=stop, drive=drive)
        return
    settings = config.train_diffusion
    mesh = denoiser_mesh(config, ranks=runtime.place.size)
    hosts = runtime.all_gather_object(runtime.place.host)
    if runtime.is_first and mesh.size > 1:
        print(mesh.table(hosts), flush=True)
    with training_latents(folder, config) as latents:
        loss = build_loss(config)
        step = build_step(loss, config, runtime=runtime, mesh=mesh)
        chosen = np.linspace(0, len(latents.validation) - 1, VALIDATION_WINDOWS).astype(int)

        def validate(compiler: Compiler) -> dict[str, float]:
            return mean_over_batches(
                evaluation_of(loss, step),
                DenoiserBatches(latents.validation, config),
                positions=chosen,
                batch=settings.global_batch // mesh.data,
                names=("loss", *SCALAR_NAMES),
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
                operations=TRAINING_PASSES * DenoiserCost(config).total().operations,
                make_inputs=DenoiserBatches(latents.training, config),
                validate=validate,
                best_by="mean_squared_error_ema",
                extra_state={
                    "latent_scale": latents.scale,
                    "cadence_minutes": latents.cadence_minutes,
                },
            ),
            stop=stop,
        )
