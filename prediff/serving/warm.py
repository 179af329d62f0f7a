"""Compiling before the first frame comes, so that it does not wait for that."""

import time

import numpy as np

from prediff.forecasting.forecaster import Forecaster


def warm_up(forecaster: Forecaster) -> float:
    """Make a forecast of dry frames and throw it away; return the seconds that it took."""
    began = time.perf_counter()
    size = forecaster.config.data.frame_size
    frames = np.zeros((forecaster.context_frames, size, size), np.float32)
    forecaster(frames, at=np.datetime64("2000-01-01", "ns"), place="frames to warm up with")
    return time.perf_counter() - began
