"""All stages in order; each is left out when what it makes is there already."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

from rich.console import Console

from hpc.checkpoint.format import read_state
from hpc.cluster.clock_skew import clock_warning
from hpc.cluster.mpi import started_ranks
from hpc.cluster.runtime import Runtime
from hpc.cluster.stop import StopRequest
from hpc.errors import UserError
from hpc.monitor.progress import Progress
from prediff.config import Config, differing_keys
from prediff.data.open_data import make_synthetic_data, open_split
from prediff.evaluation.evaluate import evaluate, is_evaluated
from prediff.forecasting.file import is_forecast_of
from prediff.forecasting.test_set import chosen_cases, forecast, provenance
from prediff.latents.cache import cache_latents, open_latents
from prediff.latents.writer import BuildProgress
from prediff.own_checkpoints import newest_own
from prediff.run_folder import ALIGNMENT, AUTOENCODER, DIFFUSION, RunFolder
from prediff.training.loop import train
from prediff.training.resume import is_restarted, software
from prediff.training.stopping import raise_if_asked
from prediff.training.task import is_trained, training_task
from prediff.verification.headline import skill_table

Say = Callable[[str], None]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stage:
    """One stage of a run.

    Attributes:
        name: as `prediff status` shows it.
        is_done: whether what it makes is whole, and made from what is there now.
        run: does what is missing; every rank calls it.
        is_wanted: whether the configuration needs it when nobody asks for it by name.
    """

    name: str
    is_done: Callable[[RunFolder, Config], bool]
    run: Callable[[RunFolder, Config, Runtime, StopRequest, Say], None]
    is_wanted: Callable[[Config], bool] = lambda config: True


def first_unfinished(folder: RunFolder, config: Config) -> str | None:
    """Return the name of the first stage that has something to do, or None."""
    for stage in STAGES:
        if stage.is_wanted(config) and not stage.is_done(folder, config):
            return stage.name
    return None


def run_stages(
    folder: RunFolder,
    config: Config,
    runtime: Runtime,
    stop: StopRequest,
    *,
    names: set[str] | None,
) -> None:
    """Do the named stages, or all, in order; what is done already is left out.

    Raises:
        UserError: bad input, ranks that were started differently, or a stage whose prerequisite is
            missing.
        Stopped: asked to stop; all that was made stays.
    """
    runtime.require_same("the software", software())
    differing = differing_keys(Config(), config, tuple(Config.model_fields))
    runtime.require_same("the configuration (beside its defaults)", differing)
    warning = clock_warning(runtime)
    if warning:
        logger.warning("warning: %s", warning)
    for stage in STAGES:
        if not (stage.is_wanted(config) if names is None else stage.name in names):
            continue
        progress = Progress(
            stage.name, total=1, done=0, samples_per_step=1, on_rank_zero=runtime.is_first
        )
        done = stage.is_done(folder, config) if runtime.is_first else None
        if runtime.broadcast_object(done):
            progress.say("already done")
            continue
        began = perf_counter()
        stage.run(folder, config, runtime, stop, progress.say)
        runtime.barrier()
        progress.say(f"done in {perf_counter() - began:.0f} s")
        raise_if_asked(stop, runtime)


def _data_done(folder: RunFolder, config: Config) -> bool:
    return config.data.root is not None or (folder.data / "CATALOG.csv").exists()


def _make_data(
    folder: RunFolder, config: Config, runtime: Runtime, stop: StopRequest, say: Say
) -> None:
    if runtime.is_first and make_synthetic_data(folder, config):
        say(f"made synthetic storms in {folder.data}")


def _training(name: str) -> Stage:
    def is_done(folder: RunFolder, config: Config) -> bool:
        task, saved = training_task(name, config), folder.checkpoints(name)
        if not saved.exists() or is_restarted(folder, name):
            return False
        with open_split(folder, config, "train") as windows:
            samples = task.samples_in(windows)
        newest = newest_own(folder, task.name)
        if newest is None:
            return False
        return is_trained(read_state(newest), total=task.total_steps(config, samples=samples))

    def run(
        folder: RunFolder, config: Config, runtime: Runtime, stop: StopRequest, say: Say
    ) -> None:
        train(training_task(name, config), folder, config, runtime, stop=stop)

    def is_wanted(config: Config) -> bool:
        return training_task(name, config).is_wanted(config)

    return Stage(name, is_done, run, is_wanted)


def _latents_done(folder: RunFolder, config: Config) -> bool:
    if not folder.latents.exists():
        return False
    try:
        with open_split(folder, config, "all") as windows:
            for reader in open_latents(folder, config, windows):
                reader.close()
    except UserError:
        return False
    return True


def _forecasts_done(folder: RunFolder, config: Config) -> bool:
    if not folder.forecast.exists():
        return False
    with open_split(folder, config, "test") as windows:
        attributes = provenance(folder, config)
        return all(
            is_forecast_of(case.path(folder), case.case, attributes)
            for case in chosen_cases(config, windows)
        )


def _cache(
    folder: RunFolder, config: Config, runtime: Runtime, stop: StopRequest, say: Say
) -> None:
    def tell(progress: BuildProgress) -> None:
        say(
            f"{progress.frames_done}/{progress.frames_total} frames, "
            f"{progress.frames_per_second:.0f} frames/s"
        )

    with started_ranks(rank=runtime.place.rank, size=runtime.place.size) as ranks:
        cache_latents(folder, config, ranks=ranks, progress=tell)


STAGES = (
    Stage("data", _data_done, _make_data),
    _training(AUTOENCODER),
    Stage("latents", _latents_done, _cache, is_wanted=lambda config: not config.is_one_pass),
    _training(DIFFUSION),
    _training(ALIGNMENT),
    Stage(
        "forecast",
        _forecasts_done,
        lambda folder, config, runtime, stop, say: forecast(
            folder, config, runtime, stop=stop, say=say
        ),
    ),
    Stage(
        "evaluation",
        is_evaluated,
        lambda folder, config, runtime, stop, say: evaluate(folder, config, runtime, say=say),
    ),
)


def print_results(folder: RunFolder, console: Console) -> None:
    """Print the score table and where everything is."""
    tables = json.loads((folder.evaluation / "scores.json").read_text())
    console.print(skill_table(tables))
    for what, where in (
        ("report", folder.evaluation / "report.html"),
        ("forecasts", folder.forecast),
        ("checkpoints", folder.checkpoints(DIFFUSION)),
        ("logs", folder.log),
    ):
        console.print(f"{what:12} {where}", soft_wrap=True, highlight=False)
    console.print("\ntensorboard --logdir runs", highlight=False)
