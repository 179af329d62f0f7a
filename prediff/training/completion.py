"""When the training of a stage is complete."""

from collections.abc import Mapping
from typing import Any

from prediff.config.schema import Training


def total_steps(settings: Training, *, num_samples: int) -> int:
    """Return the optimizer steps of a stage (MODEL 4.4: whole batches of all epochs)."""
    amount, unit = settings.duration.split()
    if unit == "steps":
        return int(amount)
    return max(1, int(amount) * num_samples // settings.global_batch)


def is_trained(state: Mapping[str, Any], *, total: int) -> bool:
    """Return whether a checkpoint's state is that of a last step, or of imported weights."""
    return "imported" in state or state["step"] >= total
