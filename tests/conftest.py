"""Every test runs on the CPU with one thread a process, whatever the host has.

MindSpore's mode belongs to the process. A test file sets it when it is imported, and pytest imports
all files before it runs the first test; so what each file set is kept, and set again before the
first of its tests.
"""

import os
import sys
from pathlib import Path

import hypothesis
import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("GLOG_v", "3")
os.environ.setdefault("MPLBACKEND", "Agg")

from disk_watch import DiskWatch

import hpc  # noqa: F401  (prepares the environment before anything imports MindSpore)

MODE = pytest.StashKey[int]()
LAST_FILE = pytest.StashKey[Path]()
DEFAULT_MODE = 1  # MindSpore's PYNATIVE_MODE, its own default


def pytest_addoption(parser):
    parser.addoption(
        "--fuzz-examples",
        type=int,
        default=100,
        help="examples of each property test; 10000 for a night",
    )


def pytest_configure(config):
    hypothesis.settings.register_profile(
        "prediff",
        max_examples=config.getoption("--fuzz-examples"),
        deadline=None,
        suppress_health_check=[
            hypothesis.HealthCheck.function_scoped_fixture,
            hypothesis.HealthCheck.too_slow,
        ],
    )
    hypothesis.settings.load_profile("prediff")


def pytest_collectstart(collector):
    if isinstance(collector, pytest.Module) and "mindspore" in sys.modules:
        sys.modules["mindspore"].set_context(mode=DEFAULT_MODE)


def pytest_itemcollected(item):
    if "mindspore" in sys.modules:
        item.stash[MODE] = sys.modules["mindspore"].get_context("mode")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    if MODE in item.stash and item.session.stash.get(LAST_FILE, None) != item.path:
        sys.modules["mindspore"].set_context(mode=item.stash[MODE])
    item.session.stash[LAST_FILE] = item.path


@pytest.fixture
def emulated_backend(monkeypatch):
    """Attention has one more backend, "emulated": the Ascend C kernels run by the referee."""
    from emulated_attention import EmulatedCuboidAttention

    from hpc.ops.cuboid_attention import op

    monkeypatch.setitem(op.MAKERS, "emulated", EmulatedCuboidAttention)


@pytest.fixture
def disk_watch(monkeypatch):
    """What a power cut would leave of the files that the test writes from here on."""
    return DiskWatch(monkeypatch)
