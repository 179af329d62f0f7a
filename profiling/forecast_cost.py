"""Seconds and memory of an ensemble forecast, part by part, with networks of any size.

    python -m profiling forecast-cost --config configs/sevirlr.yaml --members 1 --calls 4
    python -m profiling forecast-cost --members 8

The weights are starting weights, which take as long as trained ones. Every solver's chain is
shortened to --calls steps (0: none is), the solvers take turns, and the time of a whole chain is
that of a call times its calls: the table says so. A member's time holds its share of encoding, and
decoding. Where other work shares the machine, read the seconds of the processor. The full model
needs about 3 GB.
"""

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Annotated, Any

import typer

import hpc  # noqa: F401  (prepares the environment before MindSpore is imported)

import mindspore as ms  # isort: skip
import numpy as np

from hpc.cluster.runtime import start_runtime
from prediff.config import Config, load_config
from prediff.diffusion import Sampler, sample_ensemble, sampling_plan
from prediff.models import build_autoencoder, build_denoiser
from prediff.training.diffusion_network import diffusion_path

ROUNDS = 3


@dataclass(frozen=True)
class Seconds:
    """What a call took: on the wall's clock, and of the processor in this process."""

    wall: float
    cpu: float


def timed(
    what: str, call: Callable[..., Any], *arguments: Any, **named: Any
) -> tuple[Seconds, Any]:
    """Return the seconds of a call and what it returned, and tell them."""
    began, began_cpu = time.perf_counter(), time.process_time()
    result = call(*arguments, **named)
    taken = Seconds(time.perf_counter() - began, time.process_time() - began_cpu)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{what}: {taken.wall:.2f} s, {taken.cpu:.2f} s of the processor, memory at most "
        f"{most:.1f} GiB",
        flush=True,
    )
    return taken, result


class Networks:
    """An autoencoder and a denoiser with their starting weights."""

    def __init__(self, config: Config) -> None:
        self.config = config
        autoencoder, denoiser = build_autoencoder(config), build_denoiser(config)
        autoencoder.set_train(False)
        denoiser.set_train(False)
        self._encoder, self._decoder = autoencoder.encoder, autoencoder.decoder
        self.schedule = diffusion_path(config)
        self._sampler = Sampler(
            denoiser,
            schedule=self.schedule,
            parameterization=config.diffusion.parameterization,
        )

    def encode(self) -> np.ndarray:
        """Return the latents ``[T, h, w, c]`` of a context of random numbers."""
        data = self.config.data
        shape = (data.context_frames, data.frame_size, data.frame_size, 1)
        frames = np.random.default_rng(0).random(shape, np.float32)
        return self._encoder(ms.Tensor(frames))[0].asnumpy()

    def sample(self, condition: np.ndarray, *, solver: str, steps: int) -> np.ndarray:
        """Return the members' latents ``[M, T, h, w, c]``."""
        config, settings = self.config, self.config.forecast
        return sample_ensemble(
            self._sampler,
            condition=condition[None],
            sample_shape=(config.data.forecast_frames, *condition.shape[1:]),
            members=range(settings.ensemble_members),
            seed=config.seed,
            steps=steps,
            solver=solver,
            batch_size=min(settings.batch, settings.ensemble_members),
        )[0]

    def decode(self, latents: np.ndarray) -> np.ndarray:
        """Return frames ``[M, T, H, W, 1]``."""
        return np.stack([self._decoder(ms.Tensor(member)).asnumpy() for member in latents])


def measure(networks: Networks, chains: dict[str, int], *, calls: int) -> str:
    """Print what each part takes, and return a table with a line a chain.

    Args:
        chains: steps of each solver.
        calls: network calls of a shortened chain, 0 for whole ones.
    """
    timed("encode a context, with compilation", networks.encode)
    encoding, condition = timed("encode a context", networks.encode)
    lengths = {solver: min(calls or steps, steps) for solver, steps in chains.items()}
    shortest = min(lengths, key=lambda solver: lengths[solver])
    timed(
        "first chain, with compilation",
        networks.sample,
        condition,
        solver=shortest,
        steps=lengths[shortest],
    )
    seconds: dict[str, list[Seconds]] = {solver: [] for solver in chains}
    for _ in range(ROUNDS):
        for solver, steps in lengths.items():
            what = f"{solver}, {steps} steps"
            taken, latents = timed(what, networks.sample, condition, solver=solver, steps=steps)
            seconds[solver].append(taken)
    timed("decode, with compilation", networks.decode, latents)
    decoding, _ = timed("decode", networks.decode, latents)
    members = networks.config.forecast.ensemble_members
    lines = [
        "| solver | steps | network calls | measured | a call | a member | CPU s a call | CPU s a "
        "member |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for solver, steps in chains.items():
        whole, part = (
            sampling_plan(solver=solver, schedule=networks.schedule, steps=count).network_calls
            for count in (steps, lengths[solver])
        )
        cells = [solver, str(steps), str(whole), "all" if part == whole else f"{part}, scaled"]
        for clock in ("wall", "cpu"):
            call = median(getattr(taken, clock) for taken in seconds[solver]) / part
            rest = getattr(encoding, clock) + getattr(decoding, clock)
            cells += [f"{call:.3g} s", f"{(rest + whole * call) / members:.4g} s"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


CHAINS = ["dpmpp:20", "ddpm:1000"]


def main(
    *,
    config: Annotated[str | None, typer.Option(help="YAML file, default: the tiny one")] = None,
    members: Annotated[int, typer.Option(help="sampled in one batch")] = 1,
    calls: Annotated[int, typer.Option(help="steps of a shortened chain, 0: whole")] = 0,
    chains: Annotated[list[str], typer.Option("--chain", metavar="SOLVER:STEPS")] = [
        "dpmpp:20",
        "ddpm:1000",
    ],
) -> None:
    start_runtime()
    size = [f"forecast.{key}={members}" for key in ("ensemble_members", "batch")]
    _, networks = timed("build", Networks, load_config(config, size))
    lengths = {solver: int(steps) for solver, steps in (chain.split(":") for chain in chains)}
    print(measure(networks, lengths, calls=calls))
