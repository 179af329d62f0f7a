"""The published VAE: encoding the 13 frames of a sequence and decoding the 6 of a forecast.

    python -m profiling autoencoder-speed [--config configs/sevirlr.yaml] [--rounds 3]

Prints seconds, memory at its peak, and the share of this process's matrix-product peak.
"""

from pathlib import Path
from typing import Annotated

import typer

import hpc  # noqa: F401  (prepares the environment before MindSpore is imported)

import mindspore as ms  # isort: skip
import numpy as np

from hpc.monitor.peak import product_rate
from prediff.config import load_config
from prediff.models import build_autoencoder
from prediff.models.autoencoder_cost import decoder_cost, encoder_cost
from profiling.full_model import Clock


def main(
    *,
    config_file: Annotated[Path, typer.Option("--config")] = Path("configs/sevirlr.yaml"),
    rounds: Annotated[int, typer.Option(help="calls after the first")] = 3,
) -> None:
    ms.set_device("CPU")
    ms.set_context(mode=ms.GRAPH_MODE)
    config = load_config(config_file)
    peak = product_rate()
    print(f"matrix product: {peak / 1e9:.0f} GFLOP/s")
    clock = Clock(peak=peak)
    autoencoder = build_autoencoder(config).set_train(False)
    clock.tell("built")
    data, side = config.data, config.latent_size
    sequence = data.context_frames + data.forecast_frames
    random = np.random.default_rng(0)
    frames = random.random((sequence, data.frame_size, data.frame_size, 1), np.float32)
    latents = random.standard_normal(
        (data.forecast_frames, side, side, config.autoencoder.latent_channels), np.float32
    )
    for what, network, array, cost in (
        (f"encoding {sequence} frames", autoencoder.encoder, frames, encoder_cost(config)),
        (f"decoding {len(latents)} frames", autoencoder.decoder, latents, decoder_cost(config)),
    ):
        operations = len(array) * cost.operations
        for number in range(1 + rounds):
            result = network(ms.Tensor(array))
            for tensor in result if isinstance(result, tuple) else (result,):
                tensor.asnumpy()
            if number:
                clock.tell(what, operations=operations)
            else:
                clock.tell(f"first {what}, with compilation")
