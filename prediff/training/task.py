"""What a training is: the one entry per network that all commands and benchmarks read.

The facts need no MindSpore; `TrainingTask.recipe` loads the code that builds and feeds the network.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from prediff import run_folder
from prediff.config import Config
from prediff.config.trainings import Training

if TYPE_CHECKING:
    from prediff.data.dataset import RadarWindows
    from prediff.training.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class TrainingTask:
    """One training of a run."""

    name: str
    """Of the task, its folder in the run, its curves; ``train_NAME`` is its configuration."""
    network: str
    """Its section of the configuration, and what `prediff.convert` calls it."""
    best_by: str
    """The validation score that names the best checkpoint; lower is better."""
    trains_on: Literal["frames", "windows"]
    recipe: "Callable[[], Recipe]"
    is_wanted: Callable[[Config], bool] = lambda config: True
    """Whether the configuration needs it when nobody asks for it by name."""

    def settings(self, config: Config) -> Training:
        return getattr(config, f"train_{self.name}")

    def total_steps(self, config: Config, *, samples: int) -> int:
        """Return the optimizer steps of the task (MODEL 4.4: whole batches of all epochs)."""
        settings = self.settings(config)
        amount, unit = settings.duration.split()
        if unit == "steps":
            return int(amount)
        return max(1, int(amount) * samples // settings.global_batch)

    def samples_in(self, windows: "RadarWindows") -> int:
        """Return the samples of the training split."""
        return windows.frame_count if self.trains_on == "frames" else len(windows)


def is_trained(state: Mapping[str, Any], *, total: int) -> bool:
    """Return whether a checkpoint's state is that of a last step, or of imported weights."""
    return "imported" in state or state["step"] >= total


def _autoencoder() -> "Recipe":
    from prediff.training import autoencoder

    return autoencoder


def _denoiser() -> "Recipe":
    from prediff.training import denoiser

    return denoiser


def _alignment() -> "Recipe":
    from prediff.training import alignment

    return alignment


def _one_pass() -> "Recipe":
    from prediff.training import one_pass

    return one_pass


AUTOENCODER = TrainingTask(
    name=run_folder.AUTOENCODER,
    network="autoencoder",
    best_by="loss",
    trains_on="frames",
    recipe=_autoencoder,
    is_wanted=lambda config: not config.is_one_pass,
)
DENOISER = TrainingTask(
    name=run_folder.DIFFUSION,
    network="denoiser",
    best_by="mean_squared_error_ema",
    trains_on="windows",
    recipe=_denoiser,
)
ONE_PASS = TrainingTask(
    name=run_folder.DIFFUSION,
    network="one_pass",
    best_by="crps_ema",
    trains_on="windows",
    recipe=_one_pass,
)
ALIGNMENT = TrainingTask(
    name=run_folder.ALIGNMENT,
    network="alignment",
    best_by="loss",
    trains_on="windows",
    recipe=_alignment,
    is_wanted=lambda config: config.is_guided,
)


def training_task(name: str, config: Config) -> TrainingTask:
    """Return a task by its name; what ``diffusion`` trains depends on its objective."""
    forecaster = ONE_PASS if config.is_one_pass else DENOISER
    return {task.name: task for task in (AUTOENCODER, forecaster, ALIGNMENT)}[name]
