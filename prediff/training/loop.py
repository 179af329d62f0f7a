"""The training loop that all stages share: data, step, log, validate, save, stop."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hpc.checkpoint.store import CheckpointWriter, Rotation
from hpc.cluster.heartbeat import Heartbeat
from hpc.cluster.launcher import log_folder
from hpc.cluster.mesh import Mesh
from hpc.cluster.runtime import Runtime
from hpc.cluster.stop import StopRequest
from hpc.data.loader import PrefetchLoader
from hpc.data.order import SampleOrder
from hpc.monitor.peak import job_peak
from hpc.monitor.progress import Progress
from hpc.monitor.stage_timer import StageTimer
from hpc.monitor.tensorboard_writer import TensorBoardWriter
from hpc.monitor.training_curves import SPEED, step_curves, validation_curves
from hpc.train.compile_cache import Compiler
from hpc.train.health import Health
from hpc.train.lr_schedule import warmup_cosine
from hpc.train.step import STOP_VOTES
from prediff.config import Config
from prediff.config.schema import Training
from prediff.graph_cache import graph_cache
from prediff.run_folder import RunFolder
from prediff.training.adversarial_step import AnyReport, AnyStep
from prediff.training.completion import total_steps
from prediff.training.described import describe_training
from prediff.training.resume import restore, training_state
from prediff.training.stopping import Stopped

MakeInputs = Callable[[np.ndarray, np.ndarray, int], tuple[np.ndarray, ...]]
"""(positions in the split, global sample numbers, step) -> inputs of the loss Cell."""


def _no_pictures(board: TensorBoardWriter, step: int) -> None:
    """Show nothing."""


@dataclass(frozen=True, kw_only=True)
class TrainingStage:
    """What is special about a stage.

    Attributes:
        name: of the stage, of its folder in the run, and of its curves.
        settings: its section of the configuration.
        step: the compiled step.
        num_samples: of the training split.
        operations: of the model for one sample's forward and backward pass.
        make_inputs: host side of a batch.
        validate: scores of the weights that the step holds now, averaged over all ranks, which
            all call it; its graphs go through the compiler that it gets.
        best_by: the validation score that names the best checkpoint, lower is better.
        show: adds pictures to the board after a validation; only rank 0 calls it.
        extra_state: kept in every checkpoint beside the step.
    """

    name: str
    settings: Training
    step: AnyStep
    num_samples: int
    operations: float
    make_inputs: MakeInputs
    validate: Callable[[Compiler], dict[str, float]]
    best_by: str
    show: Callable[[TensorBoardWriter, int], None] = _no_pictures
    extra_state: dict[str, Any] = field(default_factory=dict)


def accumulation(settings: Training, *, data_ranks: int) -> int:
    """Return the micro-batches of a step that keep a rank within its `micro_batch`."""
    share = settings.global_batch // data_ranks
    fitting = (n for n in range(1, share + 1) if share % n == 0)
    return next(n for n in fitting if share // n <= settings.micro_batch)


def train(
    folder: RunFolder,
    config: Config,
    runtime: Runtime,
    mesh: Mesh,
    stage: TrainingStage,
    *,
    stop: StopRequest,
) -> None:
    """Train a stage from its newest checkpoint to its last step.

    Raises:
        UserError: damaged state, too many bad steps.
        Stopped: asked to stop; a checkpoint was saved.
    """
    settings, step = stage.settings, stage.step
    order = SampleOrder(stage.num_samples, settings.global_batch, config.seed)
    data_rank, _ = mesh.coordinates(runtime.place.rank)
    total = total_steps(settings, num_samples=stage.num_samples)
    health = Health(patience=settings.stop_after_bad_steps)
    first = restore(stage.name, folder, runtime, order, step=step, health=health)
    writer = (
        CheckpointWriter(
            folder.checkpoints(stage.name),
            rotation=Rotation(
                keep_last=settings.keep_checkpoints,
                keep_every=settings.keep_every,
                best=stage.best_by,
            ),
        )
        if runtime.is_first
        else None
    )
    hosts = len(set(runtime.all_gather_object(runtime.place.host)))
    progress = Progress(
        stage.name,
        operations=stage.operations,
        peak=job_peak(ranks=mesh.size, hosts=hosts, folder=folder.path)
        if runtime.is_first
        else None,
        total=total,
        done=first,
        samples_per_step=settings.global_batch,
        on_rank_zero=runtime.is_first,
    )
    graphs = graph_cache(runtime)
    heartbeat = Heartbeat(log_folder(), rank=runtime.place.rank)
    sheet = StageTimer(folder.path / stage.name if runtime.is_first else None, resumed_step=first)

    def save(done: int) -> None:
        """Copy the state off the device; writing it goes on beside the next steps."""
        state = step.export()  # what is spread over ranks, all of them bring together
        if writer is None:
            return
        groups = {"model": state.model, "optimizer": state.optimizer, "ema": state.ema}
        writer.save(
            step=done,
            arrays={name: arrays for name, arrays in groups.items() if arrays},
            state={
                **training_state(stage.name, config, runtime, mesh),
                "samples_seen": done * settings.global_batch,
                "scores": scores,
                "health": health.export(),
                "speed": progress.speed,
                **stage.extra_state,
            },
        )

    def produce(number: int) -> tuple[np.ndarray, ...]:
        positions = order.rank_slice(number, data_rank=data_rank, data_size=mesh.data)
        start = number * settings.global_batch + data_rank * len(positions)
        return stage.make_inputs(positions, start + np.arange(len(positions)), number)

    def rate(number: int) -> float:
        return warmup_cosine(
            step=number,
            total_steps=total,
            warmup_steps=round(settings.warmup_fraction * total),
            peak=settings.learning_rate,
            first_factor=settings.warmup_start,
            last_factor=settings.final_learning_rate_ratio,
        )

    with (
        TensorBoardWriter(
            folder.events(stage.name) if runtime.is_first else None, next_step=first
        ) as board,
        PrefetchLoader(produce, start=first, stop=total) as batches,
    ):
        describe_training(
            board, folder, config, task=stage.name, step=step, ranks=mesh.size, total=total
        )
        recorder = _Recorder(stage, board, progress, order, rate, health, sheet)
        scores: dict[str, float] = {}
        done, stopping = first, False
        heartbeat.pause(first)
        sheet.lap("import")
        for number, inputs in enumerate(batches, start=first):
            sheet.lap("data_wait")
            if number == first:
                step.compile(*inputs, compiler=graphs.compile)
                runtime.barrier()
                recorder.compiled(number, sheet.lap("compile"))
            heartbeat.step(number)
            report = step(*inputs, learning_rate=rate(number), stop_vote=stop.reason() is not None)
            stopping = recorder.digest_previous(number, report)
            sheet.lap("step")
            done = number + 1
            validating = done % settings.validate_every == 0 or done == total
            saving = done % settings.checkpoint_every == 0 or done == total or stopping
            if validating or saving:
                heartbeat.pause(done)
                stopping |= recorder.digest_previous(done, None)
                sheet.lap("step")
            if validating:
                scores = _validate(
                    stage, graphs.compile, board, progress, done, is_first=runtime.is_first
                )
                sheet.lap("validation")
            if saving or stopping:
                board.flush()
                save(done)
                sheet.lap("checkpoint")
                board.scalars(sheet.flush(step=done), step=done)
                progress.restart_clock(done)
            if validating or saving:
                # Rank 0 draws and may wait for the disk: nobody waits for it in a collective.
                runtime.barrier()
            if stopping:
                break
        heartbeat.pause(total)
        if writer is not None:
            writer.finish()
            sheet.lap("checkpoint")
            sheet.flush(step=done)
    runtime.barrier()
    if stopping:
        stop.obeyed()
        raise Stopped(f"{stage.name} stopped after step {done} of {total}")


Drive = Callable[..., None]
"""What `train` does with a stage, or another function of its arguments."""


class _Recorder:
    """Reads each step's report one step late, so that the device never waits for the host."""

    def __init__(
        self,
        stage: TrainingStage,
        board: TensorBoardWriter,
        progress: Progress,
        order: SampleOrder,
        rate: Callable[[int], float],
        health: Health,
        sheet: StageTimer,
    ) -> None:
        self._stage, self._board, self._progress = stage, board, progress
        self._order, self._rate = order, rate
        self._health, self._sheet = health, sheet
        self._previous: tuple[int, AnyReport] | None = None

    def compiled(self, number: int, seconds: float) -> None:
        """Tell compilation apart from the steps."""
        self._progress.say(f"compiled in {seconds:.1f} s")
        self._board.scalars({f"{SPEED}/compile_seconds": seconds}, step=number)
        self._progress.restart_clock(number)

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
        if (step + 1) % self._stage.settings.log_every == 0:
            self._log(step + 1, number if report is None else number + 1, values)
        return values[STOP_VOTES] > 0

    def _log(self, done: int, made: int, values: dict[str, float]) -> None:
        rate = self._rate(done - 1)
        speed = self._progress.report(
            done,
            made=made,
            loss=values["loss"],
            learning_rate=rate,
            gradient_norm=values["grad_norm"],
            data_wait=self._sheet.data_wait_share(),
        )
        hidden = {"is_finite", STOP_VOTES}
        self._board.scalars(
            step_curves(
                {name: value for name, value in values.items() if name not in hidden},
                learning_rate=rate,
                epoch=self._order.epoch(done),
                health=self._health.counts,
                speed=speed,
            ),
            step=done,
        )


def _validate(
    stage: TrainingStage,
    compiler: Compiler,
    board: TensorBoardWriter,
    progress: Progress,
    done: int,
    *,
    is_first: bool,
) -> dict[str, float]:
    """Score the weights and, where there is one, their moving average."""
    began = time.perf_counter()
    scores = stage.validate(compiler)
    average = stage.step.export_ema()
    if average:
        raw = stage.step.export().model
        stage.step.load_weights(average)
        scores |= {f"{name}_ema": value for name, value in stage.validate(compiler).items()}
    if is_first:
        stage.show(board, done)
    if average:
        stage.step.load_weights(raw)
    seconds = time.perf_counter() - began
    text = "  ".join(f"{name} {value:.5g}" for name, value in scores.items())
    progress.say(f"step {done}  validation: {text}  ({seconds:.1f} s)")
    board.scalars(validation_curves(scores), step=done)
    progress.restart_clock(done)
    return scores
