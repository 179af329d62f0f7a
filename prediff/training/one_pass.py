"""Task: train the network of one pass on CRPS, on pixels.

Letters: B batch, M member, T frames, H, W pixels.
"""

import numpy as np

from hpc.cluster.mesh import Mesh, make_mesh
from hpc.cluster.runtime import ALONE, Runtime
from hpc.cluster.stop import StopRequest
from hpc.train.compile_cache import Compiler
from hpc.train.step import TrainStep
from hpc.train.zero import shard_over_data
from prediff.config import Config
from prediff.data.dataset import RadarWindows
from prediff.data.open_data import open_split
from prediff.diffusion.crps_loss import SCALARS, CrpsLoss
from prediff.models import build_one_pass
from prediff.models.cost import TRAINING_PASSES
from prediff.models.one_pass_cost import one_pass_cost
from prediff.run_folder import RunFolder
from prediff.training.loop import Drive, TrainingStage, accumulation, train
from prediff.training.one_pass_batches import TRAINED_MEMBERS, OnePassBatches, Windows
from prediff.training.validation import LossEvaluation, mean_over_batches

STAGE = "diffusion"
VALIDATION_WINDOWS = 64


class RunWindows:
    """The windows of a split of a run's data."""

    def __init__(self, windows: RadarWindows) -> None:
        self._windows = windows

    def __len__(self) -> int:
        return len(self._windows)

    def read_frames_of(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return frames ``[B, T, H, W]`` float32 in [0, 1] and the minutes between them, [B]."""
        frames = self._windows.read_windows(positions)[..., 0]
        return frames, np.full(len(frames), self._windows.cadence_minutes, np.float32)


def build_crps_loss(config: Config) -> CrpsLoss:
    """Return the network and its loss as one Cell, with the weights that a training begins with."""
    settings = config.one_pass
    network = build_one_pass(config)
    if settings.init_from == "starter":
        from prediff.starter.package import starter_weights
        from prediff.trained_networks import set_weights

        set_weights(network, starter_weights(), prefix="")
    return CrpsLoss(
        network,
        size=config.data.frame_size,
        alpha=settings.alpha,
        weights=settings.weights,
        calm=settings.calm,
    )


def batches_of(
    windows: Windows, config: Config, *, loss: CrpsLoss, training: bool
) -> OnePassBatches:
    """Return what makes the loss Cell's inputs of a split; only training varies its samples."""
    side = config.data.frame_size
    turns = config.train_diffusion.augmentation == "flips_and_quarter_turns"
    return OnePassBatches(
        windows,
        context_frames=config.data.context_frames,
        noise_numbers=loss.network.noise_numbers(height=side, width=side),
        seed=config.seed,
        turns=training and turns,
        gain=config.one_pass.gain if training else 0.0,
        with_motion="extrapolation" in config.one_pass.conditions,
    )


def build_crps_step(
    loss: CrpsLoss, config: Config, *, runtime: Runtime = ALONE, mesh: Mesh | None = None
) -> TrainStep:
    """Return the step that trains the network, data parallel over all ranks."""
    mesh, settings = mesh or Mesh(), config.train_diffusion
    shares_out = config.parallel.shard_optimizer and mesh.data > 1
    shard = shard_over_data(runtime, mesh) if shares_out else None
    loss.set_train(True)
    return TrainStep(
        loss,
        {name: p for name, p in loss.parameters_and_names() if p.requires_grad},
        scalar_names=SCALARS,
        accumulation=accumulation(settings, data_ranks=mesh.data),
        data_group=runtime.data_group(mesh) if shard is None else shard.group,
        data_size=mesh.data,
        shard=shard,
        weight_decay=settings.weight_decay,
        max_norm=settings.gradient_clip,
        ema_decay=settings.ema_decay,
    )


def train_one_pass(
    folder: RunFolder,
    config: Config,
    runtime: Runtime,
    *,
    stop: StopRequest,
    drive: Drive = train,
) -> None:
    """Train the network from its newest checkpoint to its last step.

    Args:
        drive: what is done with the stage; the profiler makes some steps and keeps nothing.

    Raises:
        UserError: no data, a batch that the ranks do not divide, damaged state.
        Stopped: asked to stop; a checkpoint was saved.
    """
    mesh = make_mesh(ranks=runtime.place.size, global_batch=config.train_diffusion.global_batch)
    with (
        open_split(folder, config, "train") as training,
        open_split(folder, config, "validation") as validation,
    ):
        drive_one_pass(
            folder,
            config,
            runtime,
            mesh,
            training=RunWindows(training),
            validation=RunWindows(validation),
            cadence_minutes=training.cadence_minutes,
            stop=stop,
            drive=drive,
        )


def drive_one_pass(
    folder: RunFolder,
    config: Config,
    runtime: Runtime,
    mesh: Mesh,
    *,
    training: Windows,
    validation: Windows,
    cadence_minutes: float,
    stop: StopRequest,
    drive: Drive = train,
) -> None:
    """Train on given windows; see `train_one_pass`."""
    settings = config.train_diffusion
    loss = build_crps_loss(config)
    step = build_crps_step(loss, config, runtime=runtime, mesh=mesh)
    chosen = np.linspace(0, len(validation) - 1, VALIDATION_WINDOWS).astype(int)
    validation_batches = batches_of(validation, config, loss=loss, training=False)

    def validate(compiler: Compiler) -> dict[str, float]:
        return mean_over_batches(
            LossEvaluation(loss),
            validation_batches,
            positions=chosen,
            batch=settings.global_batch // mesh.data,
            names=("loss", *SCALARS),
            runtime=runtime,
            compiler=compiler,
            mesh=mesh,
        )

    cost = one_pass_cost(config, members=TRAINED_MEMBERS).operations
    drive(
        folder,
        config,
        runtime,
        mesh,
        TrainingStage(
            name=STAGE,
            settings=settings,
            step=step,
            num_samples=len(training),
            operations=TRAINING_PASSES * cost,
            make_inputs=batches_of(training, config, loss=loss, training=True),
            validate=validate,
            best_by="crps_ema",
            extra_state={"cadence_minutes": cadence_minutes},
        ),
        stop=stop,
    )
