"""The progress line of rank 0: where a stage stands and when it will be done."""

import math
import shutil
import sys
import time

DROPPED_FIRST = ("wait", "samples", "rate", "mfu", "gradient", "left", "seconds")
"""What a line of the terminal lacks where it is too narrow; a log lacks nothing."""


class Progress:
    """Formats a line a call; the rate is that of the steps since the last line.

    Args:
        stage: name that starts the line.
        total: steps of the whole stage.
        done: steps that earlier launches made.
        samples_per_step: the global batch.
        on_rank_zero: other ranks print nothing.
        operations: of the model for one sample, its backward pass included.
        peak: operations a second that all devices could do; None leaves the MFU out.
    """

    def __init__(
        self,
        stage: str,
        *,
        total: int,
        done: int,
        samples_per_step: int,
        on_rank_zero: bool,
        operations: float = 0.0,
        peak: float | None = None,
    ) -> None:
        self._stage = stage
        self._total = total
        self._samples_per_step = samples_per_step
        self._on_rank_zero = on_rank_zero
        self._operations, self._peak = operations, peak
        self.speed: dict[str, float] = {}
        """By name, as of the last line."""
        self._seconds = math.inf
        self.restart_clock(done)

    def restart_clock(self, made: int) -> None:
        """Leave out what passed since the last line: compilation, validation, a checkpoint."""
        self._last_made = made
        self._last_time = time.perf_counter()

    def report(
        self,
        step: int,
        *,
        made: int,
        loss: float,
        learning_rate: float,
        gradient_norm: float,
        data_wait: float,
    ) -> dict[str, float]:
        """Print the line after `step` steps; return its speeds by name.

        Args:
            step: optimizer steps up to the reported one.
            made: steps made by now, which may be ahead of the reported one; the time since the
                last line is theirs.
            loss: of the reported step.
            learning_rate: of the reported step.
            gradient_norm: of the reported step, before clipping.
            data_wait: share of the time since the last line that was spent waiting for batches.
        """
        if made > self._last_made:
            self._seconds = (time.perf_counter() - self._last_time) / (made - self._last_made)
        self.restart_clock(made)
        seconds = self._seconds
        rate = self._samples_per_step / seconds
        parts = {
            "step": f"step {step}/{self._total}",
            "loss": f"loss {loss:.5g}",
            "rate": f"lr {learning_rate:.2e}",
            "gradient": f"|g| {gradient_norm:.3g}",
            "seconds": f"{seconds:.3f} s/step",
            "samples": f"{rate:.1f} samples/s",
            "mfu": self._mfu_text(rate),
            "wait": f"wait {100 * data_wait:.1f} %",
            "left": f"left {_clock(seconds * (self._total - step))}",
        }
        self.say(_fitting(parts, columns=_columns() - len(self._prefix())))
        self.speed = {
            "step_seconds": seconds,
            "samples_per_second": rate,
            "data_wait_share": data_wait,
            **({"mfu": self._mfu(rate)} if self._peak else {}),
        }
        return self.speed

    def _mfu(self, rate: float) -> float:
        return self._operations * rate / self._peak if self._peak else 0.0

    def _mfu_text(self, rate: float) -> str:
        return f"MFU {100 * self._mfu(rate):.1f} %" if self._peak else ""

    def say(self, text: str) -> None:
        """Print one line of this stage."""
        if self._on_rank_zero:
            print(f"{self._prefix()}{text}", flush=True)

    def _prefix(self) -> str:
        return f"{time.strftime('%H:%M:%S')}  {self._stage}  "


def _columns() -> float:
    """Return the width of the terminal; a log has room for everything."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else math.inf


def _fitting(parts: dict[str, str], *, columns: float) -> str:
    """Return the parts in a line, without the least important ones if they do not fit."""
    kept = {name: text for name, text in parts.items() if text}
    for name in DROPPED_FIRST:
        if len("  ".join(kept.values())) <= columns:
            break
        kept.pop(name, None)
    return "  ".join(kept.values())


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
