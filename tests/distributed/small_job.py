"""The newcomer's command with the smallest settings, in two processes."""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
SMALLEST = [
    "data.frame_size=32",
    "data.synthetic.train_events=8",
    "data.synthetic.test_events=3",
    "autoencoder.widths=[8,8]",
    "autoencoder.latent_channels=4",
    "autoencoder.norm_groups=4",
    "denoiser.base_width=8",
    "denoiser.depths=[2]",
    "denoiser.feed_forward_dropout=0.1",
    "train_autoencoder.duration=4 steps",
    "train_autoencoder.global_batch=4",
    "train_autoencoder.log_every=1",
    "train_diffusion.duration=4 steps",
    "train_diffusion.global_batch=4",
    "train_diffusion.log_every=1",
    "train_diffusion.checkpoint_every=2",
    "forecast.cases=2",
    "forecast.steps=2",
    "forecast.ensemble_members=2",
]


def msrun_8p(folder: Path, *arguments: str, workers: int = 2) -> subprocess.CompletedProcess:
    settings = [part for text in SMALLEST for part in ("--set", text)]
    return subprocess.run(
        ["bash", str(ROOT / "launch" / "msrun_8p.sh"), *settings, *arguments],
        cwd=folder,
        env={**os.environ, "WORKERS": str(workers), "COLUMNS": "160"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
