"""What is told of a training while it runs: the line of rank 0, the curves, bad steps, goodput."""

from collections.abc import Callable

from hpc.data.order import SampleOrder
from hpc.monitor.progress import Progress
from hpc.monitor.stage_timer import StageTimer
from hpc.monitor.tensorboard_writer import TensorBoardWriter
from hpc.monitor.training_curves import SPEED, step_curves, validation_curves
from hpc.train.health import Health
from hpc.train.step import STOP_VOTES
from prediff.training.adversarial_step import AnyReport

HIDDEN = {"is_finite", STOP_VOTES}


class StepRecorder:
    """Reads each step's report one step late, so that the device never waits for the host.

    Args:
        log_every: steps between two lines.
        learning_rate: of a step.
        board, progress, order, health, timer: of the training.
    """

    def __init__(
        self,
        *,
        log_every: int,
        learning_rate: Callable[[int], float],
        board: TensorBoardWriter,
        progress: Progress,
        order: SampleOrder,
        health: Health,
        timer: StageTimer,
    ) -> None:
        self._log_every, self._learning_rate = log_every, learning_rate
        self._board, self._progress, self._order = board, progress, order
        self._health, self._timer = health, timer
        self._previous: tuple[int, AnyReport] | None = None

    def compiled(self, number: int, seconds: float) -> None:
        """Tell compilation apart from the steps."""
        self._progress.say(f"compiled in {seconds:.1f} s")
        self._board.scalars({f"{SPEED}/compile_seconds": seconds}, step=number)
        self._progress.restart_clock(number)

    def validated(self, done: int, scores: dict[str, float], seconds: float) -> None:
        """Tell the scores after so many steps."""
        text = "  ".join(f"{name} {value:.5g}" for name, value in scores.items())
        self._progress.say(f"step {done}  validation: {text}  ({seconds:.1f} s)")
        self._board.scalars(validation_curves(scores), step=done)
        self._progress.restart_clock(done)

    def saved(self, done: int) -> None:
        """Tell where the time went up to a checkpoint."""
        self._board.scalars(self._timer.flush(step=done), step=done)
        self._progress.restart_clock(done)

    def digest_previous(self, number: int, report: AnyReport | None) -> bool:
        """Keep this report, record the one before; return whether a rank asked to stop in it.

        Raises:
            UserError: too many bad steps in a row.
        """
        previous = self._previous
        self._previous = None if report is None else (number, report)
        if previous is None:
            return False
        step, values = previous[0], previous[1].read()
        for line in self._health.observe(
            step=step,
            loss=values["loss"],
            grad_norm=values["grad_norm"],
            is_finite=bool(values["is_finite"]),
            samples=self._order.batch(step).tolist(),
        ):
            self._progress.say(line)
        if (step + 1) % self._log_every == 0:
            self._log(step + 1, number if report is None else number + 1, values)
        return values[STOP_VOTES] > 0

    def _log(self, done: int, made: int, values: dict[str, float]) -> None:
        rate = self._learning_rate(done - 1)
        speed = self._progress.report(
            done,
            made=made,
            loss=values["loss"],
            learning_rate=rate,
            gradient_norm=values["grad_norm"],
            data_wait=self._timer.data_wait_share(),
        )
        curves = step_curves(
            {name: value for name, value in values.items() if name not in HIDDEN},
            learning_rate=rate,
            epoch=self._order.epoch(done),
            health=self._health.counts,
            speed=speed,
        )
        self._board.scalars(curves, step=done)
