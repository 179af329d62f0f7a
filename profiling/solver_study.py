"""How many steps does each solver need? Scores and seconds of all of them on the same test cases.

    python profiling/solver_study.py runs/NAME --cases 8 --members 8

Every solver at every number of steps forecasts the same cases with the same members' noise; the
reference is the published chain (DDPM over all noise steps; Euler over 100 where the run was
trained by flow matching). Results are kept case by case in RUN/solver_study: the same command
continues where it was stopped, and other solvers or steps are added to what is there. It writes
study.json, study.csv, study.md and study.png there.

Seconds are those of sampling one case's ensemble, after compilation; encoding and decoding are the
same for all and measured apart. Keep the machine quiet, or read ratios only.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import hpc  # noqa: F401  (prepares the environment before MindSpore is imported)

import numpy as np  # isort: skip

from hpc.errors import UserError
from hpc.runtime import start_runtime
from prediff.config import Config, load_config
from prediff.data.dataset import RadarWindows
from prediff.diffusion import StraightPath, sampling_plan
from prediff.stages.forecast import TestCase, chosen_cases, provenance
from prediff.stages.forecast_ensemble import EnsembleForecaster
from prediff.stages.open_data import open_split
from prediff.stages.run_folder import RunFolder, find_run
from prediff.stages.train_diffusion import diffusion_path
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
            "cases": [case.case.label for case in self.cases],
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

    def load(self, sampling: Sampling) -> Trial:
        """Return what is known of a solver: its scores so far, or none."""
        board, seconds = Scoreboard(lead_minutes=self._leads()), []
        try:
            said = json.loads(self._path(sampling, "json").read_text())
            if said["made_from"] == self._made_from:
                found = Scoreboard.load(self._path(sampling, "npz"))
                if found.cases == len(said["seconds"]):
                    board, seconds = found, said["seconds"]
        except (OSError, ValueError, KeyError):
            pass
        return Trial(
            solver=sampling.solver,
            steps=sampling.steps,
            network_calls=self.calls(sampling),
            seconds=seconds,
            board=board,
        )

    def add_case(self, trial: Trial) -> None:
        """Forecast and score the next case of a trial, and keep the result."""
        sampling = Sampling(trial.solver, trial.steps)
        case = self.cases[len(trial.seconds)]
        context, observation = self._frames(case)
        condition = self._forecaster.encode(context)
        began = time.perf_counter()
        latents = self._sample(condition, case, sampling)
        seconds = time.perf_counter() - began
        ensemble = np.clip(self._forecaster.decode(latents), 0, 1)
        trial.board.update(
            forecasts={sampling.name: ensemble[None]},
            observation=observation[None],
            event_ids=[case.case.event_id],
            case_ids=[case.case.label],
        )
        trial.seconds.append(seconds)
        for suffix in ("npz", "json"):
            path = self._path(sampling, suffix)
            partial = path.with_suffix(".partial")
            if suffix == "npz":
                trial.board.save(partial)
            else:
                content = {"made_from": self._made_from, "seconds": trial.seconds}
                partial.write_text(json.dumps(content))
            partial.replace(path)

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

    def _leads(self) -> list[int]:
        minutes = self.cases[0].case.minutes
        return [minutes * (1 + lead) for lead in range(self.config.data.forecast_frames)]

    def _path(self, sampling: Sampling, suffix: str) -> Path:
        return self.out / f"{sampling.name}.{suffix}"


def run_study(study: Study, samplings: list[Sampling]) -> dict[str, Any]:
    """Do what is missing, cheapest first, and return the times of the other parts.

    Prints a line a case with the time left, from the seconds a network call has taken so far.
    """
    parts = study.warm_up()
    trials = [study.load(sampling) for sampling in samplings]
    total = len(study.cases)
    for trial in sorted(trials, key=lambda trial: trial.network_calls):
        while len(trial.seconds) < total:
            study.add_case(trial)
            done = [(t.network_calls * len(t.seconds), sum(t.seconds)) for t in trials]
            a_call = sum(seconds for _, seconds in done) / sum(calls for calls, _ in done)
            left = sum(t.network_calls * (total - len(t.seconds)) for t in trials)
            print(
                f"{trial.solver} {trial.steps}: case {len(trial.seconds)}/{total} in "
                f"{trial.seconds[-1]:.1f} s, about {a_call * left / 60:.0f} min left",
                flush=True,
            )
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


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", help="folder of a trained run, or its name below runs/")
    parser.add_argument("--cases", type=int, default=8, help="test windows, spread evenly")
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--batch", type=int, default=8, help="members sampled at once")
    parser.add_argument("--solvers", nargs="+", help="default: all that fit the run")
    parser.add_argument("--steps", type=int, nargs="+", default=[5, 10, 20, 50])
    parser.add_argument("--reference-steps", type=int, help="default: all noise steps")
    parser.add_argument("--replicates", type=int, default=1000, help="of the bootstrap")
    parser.add_argument("--out", type=Path, help="default: RUN/solver_study")
    options = parser.parse_args()
    try:
        _study(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _study(options: argparse.Namespace) -> None:
    folder = find_run(options.run)
    config = load_config(
        folder.config,
        [
            f"forecast.cases={options.cases}",
            f"forecast.ensemble_members={options.members}",
            f"forecast.batch={options.batch}",
            "forecast.guidance={source: none}",
        ],
    )
    start_runtime()
    study = Study(folder, config, out=options.out or folder.path / "solver_study")
    flow = isinstance(study.schedule, StraightPath)
    most = config.diffusion.noise_steps
    steps = options.reference_steps or (min(FLOW_REFERENCE_STEPS, most) if flow else most)
    reference = Sampling("euler" if flow else "ddpm", steps)
    solvers = options.solvers or (FLOW if flow else DIFFUSION)
    wanted = [Sampling(solver, steps) for solver in solvers for steps in options.steps]
    samplings, refused = usable(study, [reference, *(s for s in wanted if s != reference)])
    if reference not in samplings:
        raise UserError(refused[reference.name])
    for name, reason in refused.items():
        print(f"left out {name}: {reason}")
    found = run_study(study, samplings)
    paths = write_study(
        study.out,
        title=f"run {folder.name}",
        trials=found["trials"],
        reference=0,
        seconds=found["seconds"],
        refused=refused,
        replicates=options.replicates,
        seed=config.seed,
    )
    print((study.out / "study.md").read_text())
    print("\n".join(str(path) for path in paths))


if __name__ == "__main__":
    sys.exit(main())
