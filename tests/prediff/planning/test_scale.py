"""What a plan of thousands of devices must say whatever its assumptions are."""

import math

import pytest
from test_plan import published
from typer.testing import CliRunner

from hpc.errors import UserError
from prediff.cli import app
from prediff.planning.scale import DEVICE_HOURS_PER_FAILURE, scale_study, windows_seen

STUDY = scale_study(config=published(), samples=10**8, largest=512, device="910B2")


def test_each_size_doubles_the_one_before_up_to_the_largest():
    assert [point.devices for point in STUDY] == [8, 16, 32, 64, 128, 256, 512]


def test_the_batch_grows_only_when_devices_would_have_no_sample():
    assert [point.global_batch for point in STUDY] == [64, 64, 64, 64, 128, 256, 512]


def test_failures_grow_with_the_devices_and_take_time():
    first, last = STUDY[0], STUDY[-1]
    assert last.failures_per_day == pytest.approx(512 * 24 / DEVICE_HOURS_PER_FAILURE)
    assert last.checkpoint_minutes == pytest.approx(first.checkpoint_minutes / 8)  # Daly: sqrt(64)
    assert 0.9 < last.goodput < first.goodput < 1


def test_a_step_waits_for_its_slowest_rank():
    point = STUDY[0]
    assert point.step_seconds == pytest.approx(
        point.mesh.step_seconds * (1 + 0.01 * math.sqrt(2 * math.log(8)))
    )


def test_days_are_those_of_all_samples():
    point = STUDY[3]
    steps = 10**8 / 64
    assert point.days == pytest.approx(steps * point.step_seconds / point.goodput / 86400)


def test_epochs_count_windows_and_steps_count_batches():
    settings = published().train_diffusion
    assert windows_seen(settings, windows=1000) == 300 * 64
    epochs = settings.model_copy(update={"duration": "2 epochs"})
    assert windows_seen(epochs, windows=1000) == 2000


def test_less_than_a_node_is_refused():
    with pytest.raises(UserError, match="--scale 4 is less than one node of 8"):
        scale_study(config=published(), samples=1, largest=4, device="910B2")


def test_no_cell_of_the_table_is_cut_at_80_columns():
    words = ["plan", "--scale", "8192", "--set", "train_diffusion.global_batch=8192"]
    found = CliRunner().invoke(app, words, env={"COLUMNS": "80"})
    assert found.exit_code == 0, found.output
    assert "…" not in found.output
    assert "8192x1" in found.output
