"""How many steps does each solver need? Scores and seconds of all of them on the same test cases.

    python -m profiling solver-study runs/NAME --cases 8 --members 8

Every solver at every number of steps forecasts the same cases with the same members' noise; the
reference is the published chain (DDPM over all noise steps; Euler over 100 where the run was
trained by flow matching). It works case by case and keeps each result in RUN/solver_study: the same
command continues where it was stopped, other solvers or steps are added to what is there, and
--minutes ends it early with a report of the cases that every solver has forecast. It writes
study.json, study.csv, study.md and study.png there.

Seconds are those of sampling one case's ensemble, after compilation; encoding and decoding are the
same for all and measured apart. Seconds of the processor are those of this process alone: where
other work shares the machine, read these.
"""

import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

import hpc  # noqa: F401  (prepares the environment before MindSpore is imported)

import numpy as np  # isort: skip

from hpc.cluster.runtime import start_runtime
from hpc.durable_files import replace_file
from hpc.errors import UserError
from prediff.config import Config, load_config
from prediff.data.dataset import RadarWindows
from prediff.data.open_data import open_split
from prediff.diffusion import StraightPath, sampling_plan
from prediff.forecasting.ensemble import EnsembleForecaster
from prediff.forecasting.test_set import TestCase, chosen_cases, provenance
from prediff.run_folder import RunFolder, find_run
from prediff.training.diffusion_network import diffusion_path
from prediff.verification import Scoreboard
from profiling.solver_study_report import Trial, write_study

DIFFUSION = ("ddpm", "ddim", "dpmpp", "dpmpp_sde", "heun")
FLOW = ("euler", "midpoint")
FLOW_REFERENCE_STEPS = 100


@dataclass(frozen=True)
class Sampling:
    """One solver at one number of steps."""

    solver: str
    steps: int

    @property
    def name(self) -> str:
        return f"{self.solver}_{self.steps}"


@dataclass(frozen=True)
class Result:
    """What a solver made of one case."""

    board: Scoreboard
    seconds: float
    cpu_seconds: float


class Study:
    """The cases, the networks, and the results that are there already."""

    def __init__(self, folder: RunFolder, config: Config, *, out: Path) -> None:
        self.config = config
        self.out = out
        self.windows: RadarWindows = open_split(folder, config, "test")
        self.cases = chosen_cases(config, self.windows)
        self.schedule = diffusion_path(config)
        self._forecaster = EnsembleForecaster(folder, config)
        made_by = provenance(folder, config)
        self._made_from = {
            "batch": config.forecast.batch,
            **{
                key: made_by[key]
                for key in ("seed", "ensemble_members", "denoiser_sha256", "autoencoder_sha256")
            },
        }
        out.mkdir(parents=True, exist_ok=True)

    def warm_up(self) -> dict[str, float]:
        """Compile everything; return the seconds of encoding and decoding one case."""
        context, _ = self._frames(self.cases[0])
        seconds: dict[str, float] = {}
        for _ in range(2):  # the first round compiles
            began = time.perf_counter()
            condition = self._forecaster.encode(context)
            seconds["encode"] = time.perf_counter() - began
            latents = self._sample(condition, self.cases[0], self._shortest())
            began = time.perf_counter()
            self._forecaster.decode(latents)
            seconds["decode"] = time.perf_counter() - began
        return seconds

    def calls(self, sampling: Sampling) -> int:
        """Return the network calls of one chain."""
        plan = sampling_plan(solver=sampling.solver, schedule=self.schedule, steps=sampling.steps)
        return plan.network_calls

    def load(self, sampling: Sampling, case: TestCase) -> Result | None:
        """Return what a solver made of a case, None if that is not there or was made otherwise."""
        try:
            said = json.loads(self._path(sampling, case, "json").read_text())
            if said["made_from"] != self._made_from:
                return None
            board = Scoreboard.load(self._path(sampling, case, "npz"))
            return Result(board, said["seconds"], said["cpu_seconds"])
        except (OSError, ValueError, KeyError):
            return None

    def forecast(self, sampling: Sampling, case: TestCase) -> Result:
        """Forecast and score a case, and keep the result."""
        context, observation = self._frames(case)
        condition = self._forecaster.encode(context)
        began, began_cpu = time.perf_counter(), time.process_time()
        latents = self._sample(condition, case, sampling)
        seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - began_cpu
        ensemble = np.clip(self._forecaster.decode(latents), 0, 1)
        board = Scoreboard(lead_minutes=self._leads())
        board.update(
            forecasts={sampling.name: ensemble[None]},
            observation=observation[None],
            event_ids=[case.case.event_id],
            case_ids=[case.case.label],
        )
        for suffix in ("npz", "json"):
            with replace_file(self._path(sampling, case, suffix)) as aside:
                if suffix == "npz":
                    board.save(aside)
                else:
                    times = {"seconds": seconds, "cpu_seconds": cpu_seconds}
                    aside.write_text(json.dumps({"made_from": self._made_from, **times}))
        return Result(board, seconds, cpu_seconds)

    def trial(self, sampling: Sampling, results: list[Result]) -> Trial:
        """Return the results of one solver together."""
        board = Scoreboard(lead_minutes=self._leads())
        for result in results:
            board.merge(result.board)
        return Trial(
            solver=sampling.solver,
            steps=sampling.steps,
            network_calls=self.calls(sampling),
            seconds=[result.seconds for result in results],
            cpu_seconds=[result.cpu_seconds for result in results],
            board=board,
        )

    def _sample(self, condition: np.ndarray, case: TestCase, sampling: Sampling) -> np.ndarray:
        settings = self.config.forecast
        return self._forecaster.sample(
            condition[None],
            cases=[case.number],
            batch=min(settings.batch, settings.ensemble_members),
            **asdict(sampling),
        )[0]

    def _shortest(self) -> Sampling:
        return Sampling("euler" if isinstance(self.schedule, StraightPath) else "dpmpp", 2)

    def _frames(self, case: TestCase) -> tuple[np.ndarray, np.ndarray]:
        window = self.windows.read_windows([case.window])[0]
        context = self.config.data.context_frames
        return window[:context], window[context:, ..., 0]

    def _leads(self) -> list[float]:
        minutes = self.cases[0].case.minutes
        return [minutes * (1 + lead) for lead in range(self.config.data.forecast_frames)]

    def _path(self, sampling: Sampling, case: TestCase, suffix: str) -> Path:
        return self.out / f"{sampling.name}_{case.case.label}.{suffix}"


def run_study(study: Study, samplings: list[Sampling], *, minutes: float) -> dict[str, Any]:
    """Do what is missing, and return the trials and the seconds of the other parts.

    Prints a line a forecast with the time left, from the seconds that network calls have taken.

    Args:
        minutes: after which no forecast begins; trials then hold the cases that all solvers have.

    Raises:
        UserError: the minutes were too few for one case.
    """
    parts = study.warm_up()
    deadline = time.perf_counter() + 60 * minutes
    found: dict[Sampling, list[Result]] = {sampling: [] for sampling in samplings}
    calls = {sampling: study.calls(sampling) for sampling in samplings}
    for number, case in enumerate(study.cases, 1):
        for sampling in samplings:
            result = study.load(sampling, case)
            if result is None and time.perf_counter() < deadline:
                result = study.forecast(sampling, case)
                spent = sum(r.seconds for results in found.values() for r in results)
                made = sum(calls[s] * len(results) for s, results in found.items())
                a_call = (spent + result.seconds) / (made + calls[sampling])
                left = len(study.cases) * sum(calls.values()) - made - calls[sampling]
                print(
                    f"case {number}/{len(study.cases)}, {sampling.solver} {sampling.steps}: "
                    f"{result.seconds:.1f} s, about {a_call * left / 60:.0f} min left",
                    flush=True,
                )
            if result is not None:
                found[sampling].append(result)
        if len({len(results) for results in found.values()}) > 1:
            break
    whole = min(len(results) for results in found.values())
    if not whole:
        raise UserError(f"{minutes:g} minutes are too few for one case: raise --minutes")
    trials = [study.trial(sampling, results[:whole]) for sampling, results in found.items()]
    return {"trials": trials, "seconds": parts}


def usable(study: Study, wanted: list[Sampling]) -> tuple[list[Sampling], dict[str, str]]:
    """Return the samplings that the run's schedule allows, and why it does not the others."""
    refused: dict[str, str] = {}
    for sampling in wanted:
        try:
            study.calls(sampling)
        except UserError as error:
            refused[sampling.name] = str(error)
    return [sampling for sampling in wanted if sampling.name not in refused], refused


def main(
    *,
    run: Annotated[str, typer.Argument(help="folder of a trained run, or its name below runs/")],
    cases: Annotated[int, typer.Option(help="test windows, spread evenly")] = 8,
    members: int = 8,
    batch: Annotated[int, typer.Option(help="members sampled at once")] = 8,
    solvers: Annotated[
        list[str] | None, typer.Option("--solver", help="default: all that fit the run")
    ] = None,
    steps: list[int] = [5, 10, 20, 50],
    reference_steps: Annotated[int | None, typer.Option(help="default: all noise steps")] = None,
    replicates: Annotated[int, typer.Option(help="of the bootstrap")] = 1000,
    minutes: Annotated[
        float, typer.Option(help="then report the cases that are complete")
    ] = math.inf,
    out: Annotated[Path | None, typer.Option(help="default: RUN/solver_study")] = None,
) -> None:
    folder = find_run(run)
    config = load_config(
        folder.config,
        [
            f"forecast.cases={cases}",
            f"forecast.ensemble_members={members}",
            f"forecast.batch={batch}",
            "forecast.guidance={source: none}",
        ],
    )
    start_runtime()
    study = Study(folder, config, out=out or folder.path / "solver_study")
    flow = isinstance(study.schedule, StraightPath)
    most = config.diffusion.noise_steps
    most = min(FLOW_REFERENCE_STEPS, most) if flow else most
    reference = Sampling("euler" if flow else "ddpm", reference_steps or most)
    names = solvers or (FLOW if flow else DIFFUSION)
    wanted = [Sampling(name, number) for name in names for number in steps]
    samplings, refused = usable(study, [reference, *(s for s in wanted if s != reference)])
    if reference not in samplings:
        raise UserError(refused[reference.name])
    for name, reason in refused.items():
        print(f"left out {name}: {reason}")
    found = run_study(study, samplings, minutes=minutes)
    paths = write_study(
        study.out,
        title=f"run {folder.name}",
        trials=found["trials"],
        reference=0,
        seconds=found["seconds"],
        refused=refused,
        replicates=replicates,
        seed=config.seed,
    )
    print((study.out / "study.md").read_text())
    print("\n".join(str(path) for path in paths))
