"""Inputs of the right shapes for a stage whose run has no data yet."""

from typing import Any

import numpy as np

from hpc.cluster.mesh import Mesh
from hpc.cluster.runtime import Runtime
from hpc.errors import UserError
from prediff.config import Config
from prediff.models import build_alignment, build_autoencoder
from prediff.models.alignment_cost import alignment_cost
from prediff.models.autoencoder_cost import training_operations
from prediff.models.cost import TRAINING_PASSES
from prediff.models.denoiser_cost import DenoiserCost
from prediff.training import alignment as train_alignment
from prediff.training import autoencoder as train_autoencoder
from prediff.training import denoiser as train_diffusion
from prediff.training.adversarial_step import AnyStep
from prediff.training.diffusion_network import build_loss
from prediff.training.loop import MakeInputs, TrainingStage

BATCHES = 64


def made_up_stage(name: str, config: Config, *, mesh: Mesh, runtime: Runtime) -> TrainingStage:
    """Return a stage whose weights are starting weights and whose samples are random numbers.

    Args:
        name: ``autoencoder``, ``diffusion`` or ``alignment``.
        config: of the networks.
        mesh: of the ranks.
        runtime: the ranks.
    """
    ranks: dict[str, Any] = {"data_group": runtime.data_group(mesh), "data_size": mesh.data}
    step: AnyStep
    if name == "autoencoder":
        autoencoder = build_autoencoder(config)
        step = train_autoencoder.build_step(autoencoder, config, runtime=runtime, mesh=mesh)
        operations = training_operations(config)
    elif name == "diffusion":
        if config.is_one_pass:
            raise UserError(
                "diffusion.objective crps is profiled on real inputs: name a run with --run"
            )
        loss = build_loss(config)
        step = train_diffusion.build_step(loss, config, runtime=runtime, mesh=mesh)
        operations = TRAINING_PASSES * DenoiserCost(config).total().operations
    else:
        _, step = train_alignment.build_step(build_alignment(config), config, **ranks)
        operations = TRAINING_PASSES * alignment_cost(config).operations
    settings = getattr(config, f"train_{name}")
    return TrainingStage(
        name=name,
        settings=settings,
        step=step,
        num_samples=BATCHES * settings.global_batch,
        operations=operations,
        make_inputs=made_up_inputs(name, config),
        validate=lambda compiler: {},
        best_by="loss",
    )


def made_up_inputs(name: str, config: Config) -> MakeInputs:
    """Return a function of (positions, sample numbers, step) that makes a stage's inputs."""
    side, channels = config.latent_size, config.autoencoder.latent_channels
    future = (config.data.forecast_frames, side, side, channels)
    past = (config.data.context_frames, side, side, channels)
    frame = (config.data.frame_size, config.data.frame_size, 1)

    def make(positions: np.ndarray, samples: np.ndarray, step: int) -> tuple[np.ndarray, ...]:
        count, random = len(positions), np.random.default_rng(step)

        def normal(*shape: int) -> np.ndarray:
            return random.standard_normal((count, *shape), np.float32)

        keys = samples.astype(np.int32)
        if name == "autoencoder":
            frames, noise = random.random((count, *frame), np.float32), normal(*future[1:])
            if config.train_autoencoder.adversarial.start_step is None:
                return frames, noise
            return frames, noise, np.ones(count, np.float32)
        noise_step = (keys % config.diffusion.noise_steps).astype(np.int32)
        if name == "diffusion":
            return normal(*future), normal(*future), noise_step, normal(*past), keys
        intensity = random.random((count, config.data.forecast_frames, 1), np.float32)
        return normal(*future), normal(*future), noise_step, intensity, keys

    return make
