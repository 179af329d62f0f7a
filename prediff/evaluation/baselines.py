"""The baselines of an evaluation, by name, on the same cases as the model.

M member, T lead time, H, W pixels.
"""

from collections.abc import Callable

import numpy as np

from prediff.config import Config
from prediff.data.open_data import open_split
from prediff.forecasting.test_set import TestCase
from prediff.run_folder import RunFolder
from prediff.verification import baselines

LIBRARY_WINDOWS = 256
"""Training windows that the climatology draws from, spread evenly over all of them."""


class Baselines:
    """The configured baselines, ready to forecast case after case.

    Raises:
        UserError: pysteps is needed and not installed, or there are no training data to draw from.
    """

    def __init__(self, folder: RunFolder, config: Config) -> None:
        self._config = config
        self._library: np.ndarray | None = None
        names = config.evaluate.baselines
        if "steps" in names:
            baselines.import_pysteps()
        if "climatology" in names:
            with open_split(folder, config, "train") as windows:
                count = min(LIBRARY_WINDOWS, len(windows))
                chosen = np.linspace(0, len(windows) - 1, count).astype(int)
                frames = windows.read_windows(chosen)
                self._library = frames[:, config.data.context_frames :, ..., 0]
        makers: dict[str, Callable[[np.ndarray, TestCase], np.ndarray]] = {
            "persistence": self._persistence,
            "climatology": self._climatology,
            "extrapolation": self._extrapolation,
            "steps": self._steps,
        }
        self._makers = {name: makers[name] for name in names}

    def __call__(self, context_THW: np.ndarray, case: TestCase) -> dict[str, np.ndarray]:
        """Return the ensemble ``[M, T, H, W]`` of each baseline for a case.

        Args:
            context_THW: frames in [0, 1].
        """
        return {name: make(context_THW[None], case)[0] for name, make in self._makers.items()}

    def _persistence(self, context: np.ndarray, case: TestCase) -> np.ndarray:
        return baselines.persistence(
            context=context, forecast_frames=self._config.data.forecast_frames
        )

    def _climatology(self, context: np.ndarray, case: TestCase) -> np.ndarray:
        assert self._library is not None
        return baselines.climatology(
            library=self._library,
            cases=np.array([case.number]),
            members=self._config.forecast.ensemble_members,
            forecast_frames=self._config.data.forecast_frames,
            seed=self._config.seed,
        )

    def _extrapolation(self, context: np.ndarray, case: TestCase) -> np.ndarray:
        return baselines.extrapolation(
            context=context, forecast_frames=self._config.data.forecast_frames
        )

    def _steps(self, context: np.ndarray, case: TestCase) -> np.ndarray:
        return baselines.steps(
            context=context,
            cases=np.array([case.number]),
            members=self._config.forecast.ensemble_members,
            forecast_frames=self._config.data.forecast_frames,
            cadence_minutes=case.case.minutes,
            kilometres_per_pixel=case.case.pixel_metres / 1000,
            seed=self._config.seed,
        )
