"""The training loop that all tasks share: data, step, log, validate, save, stop."""

import time
from collections.abc import Callable

import numpy as np

from hpc.checkpoint.manager import CheckpointManager
from hpc.checkpoint.store import Rotation
from hpc.cluster.affinity import is_pinned
from hpc.cluster.heartbeat import Heartbeat
from hpc.cluster.job import log_folder
from hpc.cluster.mesh import Mesh
from hpc.cluster.runtime import Runtime
from hpc.cluster.stop import StopRequest
from hpc.data.loader import PrefetchLoader
from hpc.data.order import SampleOrder
from hpc.monitor.peak import job_peak
from hpc.monitor.progress import Progress
from hpc.monitor.stage_timer import StageTimer
from hpc.monitor.tensorboard_writer import TensorBoardWriter
from hpc.train.health import Health
from hpc.train.lr_schedule import warmup_cosine
from prediff.config import Config
from prediff.config.trainings import Training
from prediff.graph_cache import graph_cache
from prediff.run_folder import RunFolder
from prediff.training.described import describe_training
from prediff.training.recipe import Samples, Trainable
from prediff.training.recorder import StepRecorder
from prediff.training.resume import restore, training_state
from prediff.training.stopping import Stopped
from prediff.training.task import TrainingTask
from prediff.training.validation import mean_over_batches


def train(
    task: TrainingTask, folder: RunFolder, config: Config, runtime: Runtime, *, stop: StopRequest
) -> None:
    """Train a network from its newest checkpoint to its last step.

    Raises:
        UserError: no samples, a mesh that cannot be, damaged state, too many bad steps.
        Stopped: asked to stop; a checkpoint was saved.
    """
    with task.recipe().open_samples(folder, config) as samples:
        train_on(samples, task, folder, config, runtime, stop=stop)


def train_on(
    samples: Samples,
    task: TrainingTask,
    folder: RunFolder,
    config: Config,
    runtime: Runtime,
    *,
    stop: StopRequest,
) -> None:
    """Train on samples that need not be the run's own; see `train`."""
    recipe = task.recipe()
    parallelism = recipe.parallelize(config, ranks=runtime.place.size)
    trained = recipe.build(config, runtime=runtime, parallelism=parallelism)
    training = _Training(task, folder, config, runtime, parallelism.mesh, samples, trained)
    with training.board, training.batches:
        training.describe(folder)
        done, is_stopped = training.run(stop)
    runtime.barrier()
    if is_stopped:
        stop.obeyed()
        raise Stopped(f"{task.name} stopped after step {done} of {training.total}")


class _Training:
    """One task on this rank, from its restored state on."""

    def __init__(
        self,
        task: TrainingTask,
        folder: RunFolder,
        config: Config,
        runtime: Runtime,
        mesh: Mesh,
        samples: Samples,
        trained: Trainable,
    ) -> None:
        self.task, self.config, self.runtime, self.mesh = task, config, runtime, mesh
        self.samples, self.trained = samples, trained
        self.settings = settings = task.settings(config)
        self.order = SampleOrder(samples.count, settings.global_batch, config.seed)
        self.total = task.total_steps(config, samples=samples.count)
        self.learning_rate = _learning_rate(settings, total=self.total)
        self.health = Health(patience=settings.stop_after_bad_steps)
        self.first = restore(
            task.name, folder, runtime, self.order, step=trained.step, health=self.health
        )
        self.scores: dict[str, float] = {}
        is_first = runtime.is_first
        self.checkpoints = CheckpointManager(
            folder.checkpoints(task.name) if is_first else None,
            every=settings.checkpoint_every,
            last=self.total,
            rotation=Rotation(
                keep_last=settings.keep_checkpoints,
                keep_every=settings.keep_every,
                best=task.best_by,
            ),
        )
        hosts = runtime.all_gather_object(runtime.place.host)
        if is_first and mesh.size > 1:
            print(mesh.table(hosts), flush=True)
        peak = (
            job_peak(ranks=mesh.size, hosts=len(set(hosts)), folder=folder.path, pinned=is_pinned())
            if is_first
            else None
        )
        self.progress = Progress(
            task.name,
            operations=task.recipe().operations(config),
            peak=peak,
            total=self.total,
            done=self.first,
            samples_per_step=settings.global_batch,
            on_rank_zero=is_first,
        )
        self.graphs = graph_cache(runtime)
        self.heartbeat = Heartbeat(log_folder(), rank=runtime.place.rank)
        home = folder.path / task.name if is_first else None
        self.timer = StageTimer(home, resumed_step=self.first)
        self.board = TensorBoardWriter(home, next_step=self.first)
        self.batches = PrefetchLoader(self._inputs, start=self.first, stop=self.total)
        self.recorder = StepRecorder(
            log_every=settings.log_every,
            learning_rate=self.learning_rate,
            board=self.board,
            progress=self.progress,
            order=self.order,
            health=self.health,
            timer=self.timer,
        )

    def describe(self, folder: RunFolder) -> None:
        """Tell the board what is trained, on what and with which settings."""
        describe_training(
            self.board,
            folder,
            self.config,
            task=self.task,
            step=self.trained.step,
            ranks=self.mesh.size,
            total=self.total,
        )

    def run(self, stop: StopRequest) -> tuple[int, bool]:
        """Make all steps that are left; return the steps made and whether a rank asked to stop."""
        step, recorder, timer = self.trained.step, self.recorder, self.timer
        done, stopping = self.first, False
        self.heartbeat.pause(self.first)
        timer.lap("import")
        for number, inputs in enumerate(self.batches, start=self.first):
            timer.lap("data_wait")
            if number == self.first:
                self.progress.say(
                    "compiling the step, which takes a while without its graph's cache"
                )
                step.compile(*inputs, compiler=self.graphs.compile)
                self.runtime.barrier()
                recorder.compiled(number, timer.lap("compile"))
            self.heartbeat.step(number)
            rate, vote = self.learning_rate(number), stop.reason() is not None
            report = step(*inputs, learning_rate=rate, stop_vote=vote)
            stopping = recorder.digest_previous(number, report)
            timer.lap("step")
            done = number + 1
            validating = done % self.settings.validate_every == 0 or done == self.total
            if validating or stopping or self.checkpoints.is_due(done):
                self.heartbeat.pause(done)
                stopping |= recorder.digest_previous(done, None)
                timer.lap("step")
                if validating:
                    self._validate(done)
                if stopping or self.checkpoints.is_due(done):
                    self._save(done)
                # Rank 0 draws and may wait for the disk: nobody waits for it in a collective.
                self.runtime.barrier()
            if stopping:
                break
        self.heartbeat.pause(self.total)
        self.checkpoints.finish()
        timer.lap("checkpoint")
        timer.flush(step=done)
        return done, stopping

    def _inputs(self, number: int) -> tuple[np.ndarray, ...]:
        data_rank, _ = self.mesh.coordinates(self.runtime.place.rank)
        positions, samples = self.order.rank_batch(
            number, data_rank=data_rank, data_size=self.mesh.data
        )
        return self.samples.make_inputs(positions, samples, number)

    def _validate(self, done: int) -> None:
        """Score the weights and, where there is one, their moving average."""
        began = time.perf_counter()
        step = self.trained.step
        self.scores = self._score()
        average = step.export_ema()
        if average:
            raw = step.export().model
            step.load_weights(average)
            self.scores |= {f"{name}_ema": value for name, value in self._score().items()}
        if self.runtime.is_first:
            self.samples.show(self.trained.network, self.board, done)
        if average:
            step.load_weights(raw)
        self.recorder.validated(done, self.scores, time.perf_counter() - began)
        self.timer.lap("validation")

    def _score(self) -> dict[str, float]:
        return mean_over_batches(
            self.trained.evaluation,
            self.samples.make_validation_inputs,
            positions=self.samples.validation,
            batch=self.settings.global_batch // self.mesh.data,
            names=("loss", *self.trained.scores),
            runtime=self.runtime,
            compiler=self.graphs.compile,
            mesh=self.mesh,
        )

    def _save(self, done: int) -> None:
        self.board.flush()
        self.checkpoints.save(
            step=done,
            export=self.trained.step.export,
            about={
                **training_state(self.task.name, self.config, self.runtime, self.mesh),
                "samples_seen": done * self.settings.global_batch,
                "scores": self.scores,
                "health": self.health.export(),
                "speed": self.progress.speed,
                **self.samples.state,
            },
        )
        self.timer.lap("checkpoint")
        self.recorder.saved(done)


def _learning_rate(settings: Training, *, total: int) -> Callable[[int], float]:
    """Return the learning rate of every step."""

    def rate(number: int) -> float:
        return warmup_cosine(
            step=number,
            total_steps=total,
            warmup_steps=round(settings.warmup_fraction * total),
            peak=settings.learning_rate,
            first_factor=settings.warmup_start,
            last_factor=settings.final_learning_rate_ratio,
        )

    return rate
