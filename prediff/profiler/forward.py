"""A forward pass of the network that a stage trains."""

from collections.abc import Callable
from typing import Any

import mindspore as ms
import numpy as np

from prediff.config import Config
from prediff.models import build_alignment, build_autoencoder, build_denoiser

STAGES = ("autoencoder", "diffusion", "alignment")


def forward_pass(
    name: str, config: Config, *, samples: int
) -> tuple[ms.nn.Cell, Callable[[], Any]]:
    """Return the network that a stage trains and a call that runs it forward on zeros.

    Args:
        name: one of `STAGES`.
        config: of the network.
        samples: of the batch; frames for the autoencoder.
    """
    side, channels = config.latent_size, config.autoencoder.latent_channels

    def zeros(*shape: int) -> ms.Tensor:
        return ms.Tensor(np.zeros((samples, *shape), np.float32))

    steps = ms.Tensor(np.zeros(samples, np.int32))
    future = zeros(config.data.forecast_frames, side, side, channels)
    if name == "autoencoder":
        autoencoder = build_autoencoder(config)
        frames = zeros(config.data.frame_size, config.data.frame_size, 1)
        return autoencoder, lambda: autoencoder(frames, zeros(side, side, channels))
    if name == "alignment":
        alignment = build_alignment(config)
        return alignment, lambda: alignment(future, steps)
    denoiser = build_denoiser(config)
    past = zeros(config.data.context_frames, side, side, channels)
    return denoiser, lambda: denoiser(future, steps, past)
