"""Sampled forecasts at validations: the same windows and noise each time, large enough to read."""

from dataclasses import dataclass

import numpy as np
import pytest
from untrained_run import untrained_run

from prediff.trained_networks import load_denoiser
from prediff.training.denoiser import latent_shapes
from prediff.training.forecast_pictures import ForecastPictures


class FewWindows:
    """Latents of three validation windows, of which the last has most rain."""

    def __init__(self, config):
        self.shapes = latent_shapes(config)

    def read(self, positions, *, samples):
        random = np.random.default_rng(0)
        return tuple(
            random.standard_normal((len(positions), *shape), np.float32) for shape in self.shapes
        )

    def read_intensity(self, positions):
        return np.tile(np.asarray(positions, np.float32)[:, None, None], (1, 2, 1))


@dataclass
class Latents:
    validation: FewWindows
    scored: np.ndarray
    scale: float = 1.5
    cadence_minutes: float = 10.0


class Board:
    def __init__(self):
        self.pictures = {}

    def picture(self, tag, picture, *, step):
        self.pictures[tag, step] = picture


@pytest.mark.slow
def test_pictures_change_with_the_weights_alone(tmp_path):
    folder, config = untrained_run(tmp_path / "run", data=True)
    network, _ = load_denoiser(folder, config, weights="ema")
    network.set_train(True)
    latents = Latents(FewWindows(config), scored=np.array([0, 0, 1, 1]))
    draw, board = ForecastPictures(folder, config, latents, count=1), Board()
    draw(network, board, 1)
    draw(network, board, 2)
    assert network.training
    assert list(board.pictures) == [("pictures/forecast_0", 1), ("pictures/forecast_0", 2)]
    first, second = board.pictures.values()
    np.testing.assert_array_equal(first, second)
    assert first.dtype == np.uint8
    assert min(first.shape[:2]) > 300
    for parameter in network.get_parameters():
        parameter.set_data(parameter * 2)
    draw(network, board, 3)
    assert (board.pictures["pictures/forecast_0", 3] != first).any()


def test_no_pictures_cost_nothing(tmp_path):
    board = Board()
    latents = Latents(None, scored=np.array([0]))
    ForecastPictures(None, None, latents, count=0)(None, board, 1)
    assert not board.pictures
