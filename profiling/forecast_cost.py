"""Seconds and memory of an ensemble forecast, part by part, with networks of any size.

    python profiling/forecast_cost.py --config configs/sevirlr.yaml --members 1 --calls 4
    python profiling/forecast_cost.py --members 8

The weights are starting weights, which take as long as trained ones. Every solver's chain is
shortened to --calls network calls (0: none is), the solvers take turns, and the time of a whole
chain is that of a call times its calls: the table says so. The full model needs about 6 GB.
"""

import argparse
import resource
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import hpc  # noqa: F401  (prepares the environment before MindSpore is imported)

import mindspore as ms  # isort: skip
import numpy as np

from hpc.errors import UserError
from hpc.runtime import start_runtime
from prediff.config import Config, load_config
from prediff.diffusion import Sampler, sample_ensemble, sampling_plan
from prediff.models import build_autoencoder, build_denoiser
from prediff.stages.train_diffusion import diffusion_path

ROUNDS = 3


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds of a call and what it returned."""
    began = time.perf_counter()
    result = call()
    return time.perf_counter() - began, result


def tell(what: str, seconds: float) -> None:
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{what}: {seconds:.2f} s, memory at most {most:.1f} GiB", flush=True)


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
    tell("encode a context, with compilation", timed(networks.encode)[0])
    encoding, condition = timed(networks.encode)
    tell("encode a context", encoding)
    lengths = {solver: min(calls or steps, steps) for solver, steps in chains.items()}
    shortest = min(lengths, key=lambda solver: lengths[solver])
    began = time.perf_counter()
    networks.sample(condition, solver=shortest, steps=lengths[shortest])
    tell("first chain, with compilation", time.perf_counter() - began)
    seconds: dict[str, list[float]] = {solver: [] for solver in chains}
    for _ in range(ROUNDS):
        for solver, steps in lengths.items():
            began = time.perf_counter()
            latents = networks.sample(condition, solver=solver, steps=steps)
            taken = time.perf_counter() - began
            tell(f"{solver}, {steps} steps", taken)
            seconds[solver].append(taken)
    tell("decode, with compilation", timed(lambda: networks.decode(latents))[0])
    decoding, _ = timed(lambda: networks.decode(latents))
    tell("decode", decoding)
    members = networks.config.forecast.ensemble_members
    lines = [
        "| solver | steps | network calls | measured | a call | the chain | with encoding and "
        "decoding, a member |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for solver, steps in chains.items():
        whole = sampling_plan(solver=solver, schedule=networks.schedule, steps=steps).network_calls
        part = sampling_plan(
            solver=solver, schedule=networks.schedule, steps=lengths[solver]
        ).network_calls
        call = median(seconds[solver]) / part
        total = encoding + whole * call + decoding
        scaled = "all" if part == whole else f"{part} calls, scaled"
        lines.append(
            f"| {solver} | {steps} | {whole} | {scaled} | {call:.3g} s | {whole * call:.4g} s | "
            f"{total / members:.4g} s |"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", help="YAML file, default: the tiny one")
    parser.add_argument("--members", type=int, default=1, help="sampled in one batch")
    parser.add_argument("--calls", type=int, default=0, help="of a shortened chain, 0: whole")
    parser.add_argument(
        "--chains", nargs="+", default=["dpmpp:20", "ddpm:1000"], metavar="SOLVER:STEPS"
    )
    options = parser.parse_args()
    start_runtime()
    try:
        members = [f"forecast.{key}={options.members}" for key in ("ensemble_members", "batch")]
        building, networks = timed(lambda: Networks(load_config(options.config, members)))
        tell("build", building)
        chains = {solver: int(steps) for solver, steps in (c.split(":") for c in options.chains)}
        print(measure(networks, chains, calls=options.calls))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
