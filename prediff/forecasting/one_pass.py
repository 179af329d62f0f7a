"""The one-pass network, from frames to an ensemble of frames: one network call for the members.

Letters: M ensemble member, T frames, H, W pixels.
"""

import mindspore as ms
import numpy as np

from hpc.cluster.runtime import ALONE, Runtime
from hpc.randomness import keyed_normal
from hpc.train.compile_cache import Compiler
from prediff.config import Config
from prediff.data.extrapolation import extrapolate
from prediff.diffusion.samplers.member_noise import MEMBERS_OF_A_CASE
from prediff.forecasting.ensemble import EnsembleForecaster
from prediff.models.one_pass_unet import OnePassUNet
from prediff.run_folder import RunFolder
from prediff.trained_networks import load_one_pass

DRY_BELOW = 5 / 255
"""Members below this value are dry: 1 % of CRPS on radar that was split off for such choices."""


class OnePassForecaster:
    """A trained one-pass network, ready to forecast; compiled by `compile` or the first call.

    Args:
        network: in evaluation mode.
        config: of its training; `forecast` says how many members, and how many in one call.
        cadence_minutes: between the frames, where a call does not say it.
        sharing: ranks that share the members of every ensemble; all of them call it with the same
            context, and each returns the whole ensemble.
    """

    def __init__(
        self,
        network: OnePassUNet,
        config: Config,
        *,
        cadence_minutes: float,
        sharing: Runtime = ALONE,
    ) -> None:
        self._network, self._config, self._sharing = network, config, sharing
        self._cadence_minutes = cadence_minutes
        rank, ranks = sharing.place.rank, sharing.place.size
        count = config.forecast.ensemble_members
        self._members = np.arange(rank, count, ranks)
        self._batch = min(config.forecast.batch, -(-count // ranks))
        self._with_motion = "extrapolation" in config.one_pass.conditions

    def compile(self, compiler: Compiler) -> None:
        """Compile what a call with the configured ensemble and frame size needs."""
        side = self._config.data.frame_size
        context = np.zeros((self._config.data.context_frames, side, side), np.float32)
        compiler(self._network, *self._inputs(context, self._cadence_minutes, np.zeros(1, int)))

    def requested_intensity(self, window_THW1: np.ndarray) -> None:
        """Return None: there is no guidance."""

    def __call__(
        self,
        context_THW1: np.ndarray,
        *,
        case_number: int,
        intensity: float | None = None,
        minutes: float | None = None,
    ) -> np.ndarray:
        """Return an ensemble ``[M, T, H, W]`` float32 in [0, 1].

        Args:
            context_THW1: frames ``[T, H, W, 1]`` in [0, 1].
            case_number: keys the members' noise.
            intensity: nothing else than None.
            minutes: between the frames; None is the cadence of the training.
        """
        assert intensity is None, "a one-pass network is not guided"
        context = np.ascontiguousarray(context_THW1[..., 0], np.float32)
        cadence = self._cadence_minutes if minutes is None else minutes
        own = case_number * MEMBERS_OF_A_CASE + self._members
        shape = (len(own), self._config.data.forecast_frames, *context.shape[1:])
        rows = np.empty(shape, np.float32)
        for first in range(0, len(own), self._batch):
            samples = np.resize(own[first : first + self._batch], self._batch)
            made = self._network(*self._inputs(context, cadence, samples)).asnumpy()[0]
            rows[first : first + self._batch] = made[: len(own) - first]
        rows[rows < DRY_BELOW] = 0.0
        shares = self._sharing.all_gather_object(np.minimum(rows, 1.0))
        ensemble = np.empty((sum(map(len, shares)), *rows.shape[1:]), np.float32)
        for rank, share in enumerate(shares):
            ensemble[rank :: len(shares)] = share
        return ensemble

    def _inputs(
        self, context: np.ndarray, minutes: float, samples: np.ndarray
    ) -> tuple[ms.Tensor, ...]:
        """Return what the network takes for one window and some members."""
        frames = self._config.data.forecast_frames
        if self._with_motion:
            moved = extrapolate(context_THW=context, forecast_frames=frames)
        else:
            moved = np.repeat(context[-1:], frames, axis=0)
        height, width = context.shape[1:]
        noise = keyed_normal(
            seed=self._config.seed,
            stream="one_pass_member",
            samples=np.resize(samples, self._batch),
            step=0,
            shape=(self._network.noise_numbers(height=height, width=width),),
        )
        noise *= self._network.noise_factors(
            self._config.one_pass.forecast_noise, height=height, width=width
        )
        cadence = np.full(1, minutes, np.float32)
        return tuple(
            ms.Tensor(array) for array in (context[None], moved[None], cadence, noise[None])
        )


def forecaster_of_run(
    folder: RunFolder, config: Config, *, sharing: Runtime = ALONE
) -> EnsembleForecaster | OnePassForecaster:
    """Return what forecasts with the trained networks of a run.

    Raises:
        UserError: a network is missing, or settings that do not fit it.
    """
    if not config.is_one_pass:
        return EnsembleForecaster(folder, config, sharing=sharing)
    network, checkpoint = load_one_pass(folder, config, weights=config.forecast.weights)
    return OnePassForecaster(
        network,
        config,
        cadence_minutes=float(checkpoint.state["cadence_minutes"]),
        sharing=sharing,
    )
