"""A run's folder with small networks that learned nothing, as training would leave it."""

from pathlib import Path

import numpy as np

from hpc.checkpoint.format import write_checkpoint
from prediff.config import Config, load_config, save_config
from prediff.data.open_data import make_synthetic_data
from prediff.models import build_autoencoder, build_denoiser
from prediff.run_folder import RunFolder

SETTINGS = (
    "data.frame_size=16",
    "data.context_frames=3",
    "data.forecast_frames=2",
    "data.synthetic={train_events: 6, test_events: 4}",
    "autoencoder.widths=[4, 8]",
    "autoencoder.latent_channels=4",
    "autoencoder.norm_groups=2",
    "denoiser={base_width: 16, num_heads: 1}",
    "forecast={steps: 2, ensemble_members: 3, batch: 2, cases: 4}",
)
CADENCE = 10


def untrained_run(
    path: Path, *more: str, ema: bool = True, data: bool = False, cadence: int | None = CADENCE
) -> tuple[RunFolder, Config]:
    """Write the configuration, the networks, and on demand the synthetic data, of a run."""
    folder, config = RunFolder(path), load_config(None, [*SETTINGS, *more])
    path.mkdir(parents=True)
    save_config(config, folder.config)
    if data:
        make_synthetic_data(folder, config)
    random = np.random.default_rng(1)

    def weights(cell, prefix):
        return {
            prefix + name: parameter.asnumpy()
            + random.normal(0, 0.1, parameter.shape).astype(np.float32)
            for name, parameter in cell.parameters_and_names()
        }

    write_checkpoint(
        folder.checkpoints("autoencoder"),
        step=1,
        arrays={"model": weights(build_autoencoder(config), "")},
        state={},
    )
    denoiser = weights(build_denoiser(config), "denoiser.")
    state = {"latent_scale": 1.5} | ({} if cadence is None else {"cadence_minutes": cadence})
    write_checkpoint(
        folder.checkpoints("diffusion"),
        step=1,
        arrays={"model": denoiser} | ({"ema": denoiser} if ema else {}),
        state=state,
    )
    return folder, config
