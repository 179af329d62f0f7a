"""Real radar data, where PREDIFF_FMI_DATA names the folder that holds them."""

import os
from datetime import datetime
from pathlib import Path

import pytest

from prediff.data.check import check
from prediff.data.dataset import open_windows
from prediff.data.selection import Selection

SELECTION = Selection(test_after=datetime(2017, 1, 1))


@pytest.fixture(scope="module")
def root():
    folder = os.environ.get("PREDIFF_FMI_DATA")
    if not folder or not (Path(folder) / "CATALOG.csv").exists():
        pytest.skip("PREDIFF_FMI_DATA does not name the folder of the FMI radar data")
    return Path(folder)


def test_real_radar_data_pass_the_check(root):
    report = check(root, selection=SELECTION, read_all=True)
    assert report.ok
    assert [(s.split, s.events) for s in report.splits] == [
        ("train", 11),
        ("validation", 1),
        ("test", 12),
    ]


def test_real_frames_are_rain_five_minutes_apart(root):
    data = open_windows(root, split="test", selection=SELECTION, frame_size=(128, 128))
    windows = data.read_windows([0, 35])
    assert windows.shape == (2, 13, 128, 128, 1)
    assert 0 < windows.mean() < 0.3
    assert data.events[0].frame_minutes(25) == list(range(-120, 1, 5))
