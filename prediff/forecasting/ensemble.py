"""The trained networks of a run, from frames to an ensemble of frames.

Letters: M ensemble member, T frames, H, W pixels; h, w, c of a latent frame.
"""

from collections.abc import Sequence

import mindspore as ms
import numpy as np
from mindspore import nn

from hpc.cluster.runtime import ALONE, Runtime
from hpc.errors import UserError
from hpc.train.compile_cache import Compiler
from prediff.config import Config
from prediff.diffusion import Sampler, sample_ensemble, sampling_plan
from prediff.forecasting.guidance import load_guidance, requested_intensity
from prediff.run_folder import RunFolder
from prediff.trained_networks import load_autoencoder, load_denoiser
from prediff.training.diffusion_network import diffusion_path


class EnsembleForecaster:
    """The trained networks of a run, ready to forecast; compiled by `compile` or the first call.

    Args:
        sharing: ranks that share the members of every ensemble. All of them call it with the same
            context, and each returns the whole ensemble.

    Raises:
        UserError: a network is missing, the solver and its steps do not fit the schedule, or
            guidance couples members that ranks would share.
    """

    def __init__(self, folder: RunFolder, config: Config, *, sharing: Runtime = ALONE) -> None:
        self._config, self._sharing = config, sharing
        rank, ranks = sharing.place.rank, sharing.place.size
        count = config.forecast.ensemble_members
        self._members = range(rank, count, ranks)
        self._batch = min(config.forecast.batch, -(-count // ranks))
        if config.is_guided and config.forecast.guidance.coupling == "reference" and ranks > 1:
            raise UserError(
                "forecast.guidance.coupling=reference lets members influence each other, so ranks "
                "cannot share them: forecast in one process, or take coupling per_sample"
            )
        autoencoder = load_autoencoder(folder, config)
        denoiser, checkpoint = load_denoiser(folder, config, weights=config.forecast.weights)
        self._encoder: nn.Cell = autoencoder.encoder
        self._decoder: nn.Cell = autoencoder.decoder
        self._scale = float(checkpoint.state["latent_scale"])
        schedule = diffusion_path(config)
        sampling_plan(
            solver=config.forecast.solver, schedule=schedule, steps=config.forecast.steps
        )  # refuses before anything is compiled
        guidance = None
        if config.is_guided:
            guidance, aligned = load_guidance(folder, config, latent_scale=self._scale)
            self._climatology = aligned.state.get("climatology")
        self._sampler = Sampler(
            denoiser,
            schedule=schedule,
            parameterization=config.diffusion.parameterization,
            guidance=guidance,
        )

    def compile(self, compiler: Compiler) -> None:
        """Compile what a call with the configured ensemble needs.

        Args:
            compiler: for instance `CompileCache.compile` of `hpc.train.compile_cache`, on all
                ranks at once.
        """
        config, size = self._config, self._config.latent_size
        frame = (size, size, config.autoencoder.latent_channels)
        data, batch = config.data, self._batch
        frames = (data.context_frames, data.frame_size, data.frame_size, 1)
        compiler(self._encoder, ms.Tensor(np.zeros(frames, np.float32)))
        self._sampler.compile(
            compiler,
            shape=(batch, data.forecast_frames, *frame),
            condition_shape=(batch, data.context_frames, *frame),
        )
        latents = np.zeros((data.forecast_frames, *frame), np.float32)
        compiler(self._decoder, ms.Tensor(latents))

    def requested_intensity(self, window_THW1: np.ndarray) -> float | None:
        """Return the mean intensity in [0, 1] to steer a window to, None without guidance.

        Args:
            window_THW1: frames ``[T, H, W, 1]``, context and truth; only ``oracle`` looks at the
                truth.
        """
        if not self._config.is_guided:
            return None
        frames = self._config.data.context_frames
        return requested_intensity(
            self._config,
            context_THW1=window_THW1[:frames],
            future_THW1=window_THW1[frames:],
            climatology=self._climatology,
        )

    def __call__(
        self, context_THW1: np.ndarray, *, case_number: int, intensity: float | None = None
    ) -> np.ndarray:
        """Return an ensemble ``[M, T, H, W]`` float32, not clipped.

        Args:
            context_THW1: frames ``[T, H, W, 1]`` in [0, 1].
            case_number: keys the members' noise.
            intensity: the mean intensity to steer to, for guided forecasts alone.
        """
        settings = self._config.forecast
        latents = self.sample(
            self.encode(context_THW1)[None],
            cases=[case_number],
            solver=settings.solver,
            steps=settings.steps,
            batch=self._batch,
            intensity=None if intensity is None else np.array([intensity]),
        )
        shares = self._sharing.all_gather_object(self.decode(latents[0]))
        ensemble = np.empty((settings.ensemble_members, *shares[0].shape[1:]), np.float32)
        for rank, share in enumerate(shares):
            ensemble[rank :: len(shares)] = share
        return ensemble

    def encode(self, context_THW1: np.ndarray) -> np.ndarray:
        """Return the latent frames ``[T, h, w, c]`` of frames ``[T, H, W, 1]`` in [0, 1]."""
        mean, _ = self._encoder(ms.Tensor(context_THW1))
        return mean.asnumpy()

    def sample(
        self,
        condition: np.ndarray,
        *,
        cases: Sequence[int],
        solver: str,
        steps: int,
        batch: int,
        intensity: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return scaled latents ``[B, M, T, h, w, c]`` of this rank's share of the members.

        Args:
            condition: encoded contexts ``[B, T_in, h, w, c]``.
            cases: number of each case, which keys its members' noise.
            batch: chains that run together; the graph is compiled once for each number.
            intensity: ``[B]``, for guided forecasts alone.
        """
        config = self._config
        size = config.latent_size
        return sample_ensemble(
            self._sampler,
            condition=condition,
            sample_shape=(
                config.data.forecast_frames,
                size,
                size,
                config.autoencoder.latent_channels,
            ),
            members=self._members,
            seed=config.seed,
            steps=steps,
            solver=solver,
            batch_size=batch,
            cases=cases,
            target=intensity,
        )

    def decode(self, latents: np.ndarray) -> np.ndarray:
        """Return frames ``[M, T, H, W]`` of scaled latents ``[M, T, h, w, c]``, not clipped."""
        size = self._config.data.frame_size
        frames = np.empty((*latents.shape[:2], size, size), np.float32)
        for member, latent in zip(frames, latents, strict=True):
            member[:] = self._decoder(ms.Tensor(latent / np.float32(self._scale))).asnumpy()[..., 0]
        return frames
