"""The curves of a training: the same tags for every task, so that runs overlay in TensorBoard.

TensorBoard sorts groups by name, so the losses come first: ``loss``, ``loss_parts``, ``optimizer``,
``speed``, ``time`` (goodput and where every second went), ``validation``; pictures are in
``pictures``.
"""

from collections.abc import Mapping
from typing import Any

LOSS, LOSS_PARTS = "loss", "loss_parts"
OPTIMIZER, SPEED, TIME, VALIDATION = "optimizer", "speed", "time", "validation"
TRAINING_LOSS = f"{LOSS}/training"
VALIDATION_LOSS = f"{LOSS}/validation"

_OPTIMIZER_VALUES = ("grad_norm", "discriminator_grad_norm")

DESCRIPTIONS = {
    TRAINING_LOSS: "Of one step's global batch, before its update.",
    VALIDATION_LOSS: "Over fixed samples of the validation split, without dropout.",
    f"{VALIDATION_LOSS}_ema": "As loss/validation, of the moving average of the weights.",
    f"{OPTIMIZER}/learning_rate": "Of the step, after warm-up and decay.",
    f"{OPTIMIZER}/grad_norm": "Global norm of the gradient before clipping.",
    f"{OPTIMIZER}/epoch": "Passes over the training split so far.",
    f"{OPTIMIZER}/skipped_steps": "Steps left out so far: loss or gradient was not finite.",
    f"{OPTIMIZER}/loss_outliers": "Steps so far whose loss was far from the last 200.",
    f"{OPTIMIZER}/grad_norm_outliers": "Steps so far whose gradient norm was far off the last 200.",
    f"{SPEED}/step_seconds": "Mean since the last point, without validation and checkpoints.",
    f"{SPEED}/samples_per_second": "Of all ranks together.",
    f"{SPEED}/data_wait_share": "Share of the time in steps that waited for batches.",
    f"{SPEED}/mfu": "Operations of the model per second over the peak of all devices.",
    f"{SPEED}/compile_seconds": "From the first batch to a compiled step.",
    f"{TIME}/goodput": "Share of all seconds, over all restarts, in steps that counted.",
    f"{TIME}/lost_seconds": "Computed again after a restart.",
}
"""What each curve is, by tag; TensorBoard shows it at the chart."""

LAYOUT = {
    "loss": {
        "training and validation": [
            "Multiline",
            [TRAINING_LOSS, VALIDATION_LOSS, f"{VALIDATION_LOSS}_ema"],
        ],
    },
    "optimizer": {
        "learning rate": ["Multiline", [f"{OPTIMIZER}/learning_rate"]],
        "gradient norm": ["Multiline", [f"{OPTIMIZER}/grad_norm"]],
    },
    "speed": {
        "samples per second": ["Multiline", [f"{SPEED}/samples_per_second"]],
        "goodput": ["Multiline", [f"{TIME}/goodput", f"{SPEED}/data_wait_share"]],
    },
}
"""Charts of the tab Custom Scalars: what is compared stands in one."""


def step_curves(
    values: Mapping[str, float],
    *,
    learning_rate: float,
    epoch: float,
    health: Mapping[str, float],
    speed: Mapping[str, float],
) -> dict[str, float]:
    """Return the curves' next points by tag.

    Args:
        values: what the step reports: ``loss``, ``grad_norm``, and parts of the loss.
        learning_rate: of the step.
        epoch: passes over the data so far.
        health: counts of bad steps.
        speed: as the progress line has it.
    """
    curves = {}
    for name, value in values.items():
        group = OPTIMIZER if name in _OPTIMIZER_VALUES else LOSS_PARTS
        curves[TRAINING_LOSS if name == "loss" else f"{group}/{name}"] = value
    return {
        **curves,
        f"{OPTIMIZER}/learning_rate": learning_rate,
        f"{OPTIMIZER}/epoch": epoch,
        **{f"{OPTIMIZER}/{name}": value for name, value in health.items()},
        **{f"{SPEED}/{name}": value for name, value in speed.items()},
    }


def validation_curves(scores: Mapping[str, float]) -> dict[str, float]:
    """Return the scores of a validation by tag; losses stand beside those of training as well."""
    losses = {
        f"{VALIDATION_LOSS}{name.removeprefix('loss')}": value
        for name, value in scores.items()
        if name in ("loss", "loss_ema")
    }
    return losses | {f"{VALIDATION}/{name}": value for name, value in scores.items()}


def flat_settings(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings as one table of numbers, texts and flags, as TensorBoard takes them.

    Keys are joined by dots; lists become texts, what is not set is left out.
    """
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= flat_settings(value, f"{prefix}{name}.")
        elif value is not None:
            flat[prefix + name] = value if isinstance(value, bool | int | float) else str(value)
    return flat
