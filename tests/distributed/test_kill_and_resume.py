"""The short version of the kill driver; see its head for the long one."""

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
