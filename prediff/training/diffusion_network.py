"""What the denoiser of a configuration is trained on: its path, and itself with its loss."""

from prediff.config import Config
from prediff.diffusion import DiffusionLoss, NoiseSchedule, StraightPath, noise_schedule
from prediff.models import build_denoiser


def diffusion_path(config: Config) -> NoiseSchedule | StraightPath:
    """Return the noise schedule, or the straight path of flow matching."""
    if config.diffusion.noise_schedule == "straight":
        return StraightPath(num_steps=config.diffusion.noise_steps)
    return noise_schedule(
        name=config.diffusion.noise_schedule, num_steps=config.diffusion.noise_steps
    )


def build_loss(config: Config, *, recompute: bool = False) -> DiffusionLoss:
    """Return the denoiser and its loss as one Cell, with starting weights.

    Args:
        recompute: whether blocks compute parts of themselves again in their backward pass.
    """
    return DiffusionLoss(
        build_denoiser(config, recompute=recompute),
        schedule=diffusion_path(config),
        parameterization=config.diffusion.parameterization,
        learn_logvar=config.diffusion.learn_log_variance,
        vlb_weight=config.diffusion.variational_weight,
    )
