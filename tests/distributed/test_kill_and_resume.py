"""Short versions of the kill driver and of the chaos driver; their heads tell of the long ones."""

import chaos_driver
import pytest
from kill_driver import SETTINGS, drive

pytestmark = pytest.mark.slow


def test_a_run_killed_in_a_checkpoint_and_in_a_shard_ends_with_the_same_bits(tmp_path):
    report = drive(
        tmp_path,
        kills=2,
        workers=1,
        other_workers=None,
        until="latents",
        ways=("checkpoint", "shard"),
        settings=SETTINGS | {"train_autoencoder.duration": "6 steps"},
    )
    assert sum(report["kills"].values()) == 2


@pytest.mark.alone
def test_after_a_killed_launcher_nobody_is_left_and_the_same_command_ends_with_the_same_bits(
    tmp_path,
):
    report = chaos_driver.drive(tmp_path, kills=1, kinds=("launcher",), until="autoencoder")
    assert report["kills"] == {"launcher": 1}
    assert report["files_compared"] >= 2
    assert report["slowest_clean_up"]["launcher"] < 10
