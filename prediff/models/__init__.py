"""The networks: autoencoder, Earthformer-UNet, alignment network."""

from prediff.models.build import (
    build_alignment,
    build_autoencoder,
    build_denoiser,
    build_one_pass,
)

__all__ = ["build_alignment", "build_autoencoder", "build_denoiser", "build_one_pass"]
