"""What a training step keeps in memory, in a process of its own."""

import subprocess
import sys
from pathlib import Path


def test_a_step_keeps_few_copies_of_the_weights():
    """Moments and average are 12 bytes a weight, gradients and their buckets 8, the rest passes.

    Division on the CPU, constants the size of a bucket, and buckets updated all at once made it 94.
    """
    program = Path(__file__).with_name("memory_of_steps.py")
    done = subprocess.run(
        [sys.executable, str(program)], capture_output=True, text=True, timeout=300, check=True
    )
    assert 12 < float(done.stdout.split()[-1]) < 48
