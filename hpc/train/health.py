"""Is the run well? Skipped steps, outliers, and when to give up."""

import math
from collections import deque
from collections.abc import Sequence
from typing import Any

from hpc.errors import UserError

FEWEST_VALUES = 20
NAMED_SAMPLES = 16


class Health:
    """Watches what the steps report; the same on every rank, because reports are averages.

    Args:
        patience: bad steps in a row that end the run. A bad step is one whose loss or gradient was
            not finite, so that the update was skipped.
        window: steps that loss and gradient norm are compared with.
        sigmas: standard deviations from the window's mean that make an outlier.
    """

    def __init__(self, *, patience: int, window: int = 200, sigmas: float = 6.0):
        assert patience >= 1
        assert window >= FEWEST_VALUES
        self.patience, self.sigmas = patience, sigmas
        self.counts = {"skipped_steps": 0, "loss_outliers": 0, "grad_norm_outliers": 0}
        """How often each happened in the run so far."""
        self._recent = {
            "loss": deque[float](maxlen=window),
            "grad_norm": deque[float](maxlen=window),
        }
        self._bad_in_a_row = 0

    def observe(
        self, *, step: int, loss: float, grad_norm: float, is_finite: bool, samples: Sequence[int]
    ) -> list[str]:
        """Take in one step and return lines for the log, usually none.

        Args:
            step: optimizer step that the numbers belong to.
            loss: mean over the global batch.
            grad_norm: before clipping.
            is_finite: whether the update was made.
            samples: numbers of the samples in the global batch.

        Raises:
            UserError: `patience` bad steps in a row; names the step and the samples.
        """
        if not is_finite:
            self.counts["skipped_steps"] += 1
            self._bad_in_a_row += 1
            what = f"step {step}: loss {loss:g}, gradient norm {grad_norm:g}"
            named = ", ".join(str(sample) for sample in samples[:NAMED_SAMPLES])
            if len(samples) > NAMED_SAMPLES:
                named += f" and {len(samples) - NAMED_SAMPLES} more"
            if self._bad_in_a_row >= self.patience:
                raise UserError(
                    f"{self._bad_in_a_row} bad steps in a row, the last is {what}, samples "
                    f"{named}: look at these samples, or lower the learning rate"
                )
            return [f"skipped {what}, samples {named}"]
        self._bad_in_a_row = 0
        lines = []
        for name, value in (("loss", loss), ("grad_norm", grad_norm)):
            line = self._outlier(name, value)
            if line is not None:
                self.counts[f"{name}_outliers"] += 1
                lines.append(f"step {step}: {line}")
            self._recent[name].append(value)
        return lines

    def _outlier(self, name: str, value: float) -> str | None:
        recent = self._recent[name]
        if len(recent) < FEWEST_VALUES:
            return None
        mean = math.fsum(recent) / len(recent)
        deviation = math.sqrt(math.fsum((x - mean) ** 2 for x in recent) / len(recent))
        if abs(value - mean) <= self.sigmas * deviation:
            return None
        return (
            f"{name} {value:g} is more than {self.sigmas:g} sigma from the mean {mean:g} of the "
            f"last {len(recent)} steps"
        )

    def export(self) -> dict[str, Any]:
        """Return the state for a checkpoint, as JSON can hold it."""
        return {
            "counts": dict(self.counts),
            "recent": {name: list(values) for name, values in self._recent.items()},
            "bad_in_a_row": self._bad_in_a_row,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `export` returned."""
        self.counts.update(state["counts"])
        for name, values in self._recent.items():
            values.clear()
            values.extend(state["recent"][name])
        self._bad_in_a_row = state["bad_in_a_row"]
