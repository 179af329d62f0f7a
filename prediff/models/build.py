"""The networks of a configuration."""

from typing import Any

import mindspore as ms

from prediff.config import Config
from prediff.models.alignment_network import AlignmentNetwork
from prediff.models.autoencoder import Autoencoder
from prediff.models.earthformer_unet import EarthformerUNet
from prediff.models.one_pass_unet import OnePassUNet


def build_autoencoder(config: Config) -> Autoencoder:
    """Return the VAE with starting weights; frames are ``[N, H, W, 1]``."""
    settings = config.autoencoder
    return Autoencoder(
        latent_channels=settings.latent_channels,
        widths=settings.widths,
        layers_per_block=settings.layers_per_block,
        norm_groups=settings.norm_groups,
        seed=config.seed,
    )


def build_denoiser(config: Config, *, recompute: bool = False) -> EarthformerUNet:
    """Return the Earthformer-UNet with starting weights.

    Args:
        recompute: whether blocks compute parts of themselves again in their backward pass.

    Raises:
        UserError: settings that cannot work together.
    """
    settings = config.denoiser
    options = {
        **_shared(config, settings),
        "recompute": recompute,
    }
    return EarthformerUNet(
        context_length=config.data.context_frames,
        time_block_dropout=settings.time_block_dropout,
        num_global_vectors=settings.global_vectors,
        hierarchical_positions=settings.hierarchical_position_embedding,
        **options,
    )


def build_one_pass(config: Config) -> OnePassUNet:
    """Return the network of objective crps with starting weights.

    Raises:
        UserError: settings that cannot work together.
    """
    settings = config.one_pass
    return OnePassUNet(
        context_frames=config.data.context_frames,
        forecast_frames=config.data.forecast_frames,
        patch=settings.patch,
        widths=settings.widths,
        blocks=settings.blocks,
        noise_channels=settings.noise_channels,
        norm_groups=settings.norm_groups,
        seed=config.seed,
    )


def build_alignment(config: Config) -> AlignmentNetwork:
    """Return the knowledge-alignment network with starting weights.

    Raises:
        UserError: settings that cannot work together.
    """
    return AlignmentNetwork(**_shared(config, config.alignment))


def _shared(config: Config, settings: Any) -> dict[str, Any]:
    return {
        "forecast_length": config.data.forecast_frames,
        "height": config.latent_size,
        "width": config.latent_size,
        "latent_channels": config.autoencoder.latent_channels,
        "base_width": settings.base_width,
        "depths": list(settings.depths),
        "num_heads": settings.num_heads,
        "pattern": settings.attention_pattern,
        "padding": settings.padding,
        "width_growth": settings.width_exponent,
        "attention_dropout": settings.attention_dropout,
        "projection_dropout": settings.projection_dropout,
        "feed_forward_dropout": settings.feed_forward_dropout,
        "recompute": settings.recompute,
        "backend": settings.attention_backend,
        "compute_dtype": getattr(ms, settings.precision),
        "seed": config.seed,
    }
