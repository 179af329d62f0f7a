"""How the network of one pass is trained on CRPS, on pixels.

Letters: B batch, M member, T frames, H, W pixels.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import nn

from hpc.cluster.runtime import ALONE, Runtime
from prediff.config import Config
from prediff.data.dataset import RadarWindows
from prediff.data.open_data import open_split
from prediff.diffusion.crps_loss import SCALARS, CrpsLoss
from prediff.models import build_one_pass
from prediff.models.cost import TRAINING_PASSES
from prediff.models.one_pass_cost import one_pass_cost
from prediff.models.one_pass_unet import noise_numbers
from prediff.run_folder import RunFolder
from prediff.training.one_pass_batches import TRAINED_MEMBERS, OnePassBatches, Windows
from prediff.training.parallel_step import whole_network_step
from prediff.training.parallelize import ON_ONE_PROCESS, Parallelism
from prediff.training.parallelize import parallelize as training_parallelism
from prediff.training.recipe import MakeInputs, Samples, Trainable
from prediff.training.validation import LossEvaluation

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


def batches_of(windows: Windows, config: Config, *, training: bool) -> OnePassBatches:
    """Return what makes the loss Cell's inputs of a split; only training varies its samples."""
    settings, side = config.one_pass, config.data.frame_size
    turns = config.train_diffusion.augmentation == "flips_and_quarter_turns"
    return OnePassBatches(
        windows,
        context_frames=config.data.context_frames,
        noise_numbers=noise_numbers(
            height=side,
            width=side,
            patch=settings.patch,
            levels=len(settings.widths),
            channels=settings.noise_channels,
        ),
        seed=config.seed,
        turns=training and turns,
        gain=settings.gain if training else 0.0,
        with_motion="extrapolation" in settings.conditions,
    )


def parallelize(config: Config, *, ranks: int) -> Parallelism:
    """Return how ranks share the samples; see `prediff.training.parallelize`."""
    return training_parallelism(
        settings=config.train_diffusion, ranks=ranks, parallel=config.parallel
    )


def build(
    config: Config, *, runtime: Runtime = ALONE, parallelism: Parallelism = ON_ONE_PROCESS
) -> Trainable:
    """Return the network with its step."""
    loss, settings = build_crps_loss(config), config.train_diffusion
    step = whole_network_step(
        loss.set_train(True),
        {name: p for name, p in loss.parameters_and_names() if p.requires_grad},
        parallelism,
        runtime,
        scalar_names=SCALARS,
        weight_decay=settings.weight_decay,
        max_norm=settings.gradient_clip,
        ema_decay=settings.ema_decay,
    )
    return Trainable(
        network=loss.network,
        step=step,
        evaluation=LossEvaluation(loss),
        scores=SCALARS,
    )


@contextmanager
def open_samples(folder: RunFolder, config: Config) -> Iterator[Samples]:
    """Open the windows of both splits; see `prediff.training.recipe.Recipe`."""
    with (
        open_split(folder, config, "train", fixes_split=True) as training,
        open_split(folder, config, "validation") as validation,
    ):
        yield samples_of(
            RunWindows(training),
            RunWindows(validation),
            config,
            cadence_minutes=training.cadence_minutes,
        )


def samples_of(
    training: Windows, validation: Windows, config: Config, *, cadence_minutes: float
) -> Samples:
    """Return windows, which need not be those of a run, as a training takes them."""
    return Samples(
        count=len(training),
        make_inputs=batches_of(training, config, training=True),
        make_validation_inputs=batches_of(validation, config, training=False),
        validation=np.linspace(0, len(validation) - 1, VALIDATION_WINDOWS).astype(int),
        state={"cadence_minutes": cadence_minutes},
    )


def made_up_inputs(config: Config) -> MakeInputs:
    """Return what makes random frames and noise."""
    return batches_of(_RandomWindows(config), config, training=False)


def forward(config: Config, *, samples: int) -> tuple[nn.Cell, Callable[[], Any]]:
    """Return the network and a call that runs the members of a training on zeros."""
    network = build_one_pass(config)
    context, extrapolation, minutes, noise, _ = made_up_inputs(config)(
        np.arange(samples), np.arange(samples), 0
    )
    inputs = [ms.Tensor(array) for array in (context, extrapolation, minutes, noise)]
    return network, lambda: network(*inputs)


def operations(config: Config) -> float:
    """Return the operations of a window's forward and backward pass, of all its members."""
    return TRAINING_PASSES * one_pass_cost(config, members=TRAINED_MEMBERS).operations


class _RandomWindows:
    """Frames of noise, for steps whose numbers nobody reads."""

    def __init__(self, config: Config) -> None:
        self._shape = (config.window_frames, config.data.frame_size, config.data.frame_size)

    def __len__(self) -> int:
        return VALIDATION_WINDOWS

    def read_frames_of(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return frames ``[B, T, H, W]`` in [0, 1] and the minutes between them, [B]."""
        random = np.random.default_rng(int(positions[0]))
        frames = random.random((len(positions), *self._shape), np.float32)
        return frames, np.full(len(positions), 5.0, np.float32)
