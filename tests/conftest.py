"""Every test runs on the CPU with one thread a process, whatever the host has.

MindSpore's mode belongs to the process. A test file sets it when it is imported, and pytest imports
all files before it runs the first test; so what each file set is kept and set again for its tests.
"""

import os
import sys

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("GLOG_v", "3")
os.environ.setdefault("MPLBACKEND", "Agg")

import hpc  # noqa: F401  (prepares the environment before anything imports MindSpore)

MODE = pytest.StashKey[int]()
DEFAULT_MODE = 1  # MindSpore's PYNATIVE_MODE, its own default


def pytest_collectstart(collector):
    if isinstance(collector, pytest.Module) and "mindspore" in sys.modules:
        sys.modules["mindspore"].set_context(mode=DEFAULT_MODE)


def pytest_itemcollected(item):
    if "mindspore" in sys.modules:
        item.stash[MODE] = sys.modules["mindspore"].get_context("mode")


def pytest_runtest_setup(item):
    if MODE in item.stash:
        sys.modules["mindspore"].set_context(mode=item.stash[MODE])
