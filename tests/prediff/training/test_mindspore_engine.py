"""MindSpore's own pipeline, as far as that goes without an NPU: its compiler cuts our step.

What stands around it is in tests/distributed/test_pipeline.py (``by_mindspore``).
"""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hpc.errors import UserError
from prediff.config import load_config
from prediff.training import parallelize
from prediff.training.parallelize import parallelize_denoiser

SCRIPT = Path(__file__).with_name("mindspore_front_end.py")
PLACES = SCRIPT.parents[3], SCRIPT.parents[1] / "diffusion"
"""Of the software, and of the small loss that the script takes."""


def front_end(rank: int) -> dict:
    """Return what MindSpore's front end makes of one of two ranks' graphs."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(rank), "2"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, PLACES))},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def found() -> list[dict]:
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(front_end, range(2)))


def sent_and_received(found: list[dict], kind: str, *, by: int) -> tuple[list, list]:
    """Return what a rank sends, and what the other one receives, in order: shapes and tags."""

    def of(rank: int, action: str) -> list:
        messages = found[rank][kind]["messages"]
        return [(shape, tag) for made, shape, _, tag in messages if made == action]

    return of(by, "Send"), of(1 - by, "Receive")


@pytest.mark.slow
def test_mindspore_cuts_a_step_into_stages_whose_messages_match(found):
    for rank in range(2):
        sent, received = sent_and_received(found, "train", by=rank)
        assert sent == received
        assert len(sent) == 4, "stream and skip of two micro-batches"
        accumulated = set(found[rank]["train"]["accumulated"])
        assert accumulated - {"pipeline_start"} == set(found[rank]["held"])
    # One forward, one backward: the last stage answers before it takes the next micro-batch.
    streams = [kind for kind, shape, *_ in found[1]["train"]["messages"] if len(shape) == 5]
    assert streams == ["Receive", "Receive", "Send", "Send"] * 2


@pytest.mark.slow
def test_mindspore_cuts_an_evaluation(found):
    sent, received = sent_and_received(found, "evaluate", by=0)
    assert sent == received
    assert len(sent) == 4
    assert sent_and_received(found, "evaluate", by=1) == ([], [])
    assert not found[1]["evaluate"]["accumulated"]


@pytest.mark.parametrize(
    ("settings", "ranks", "has_npu", "message"),
    [
        (["parallel.pipeline=2"], 2, False, "compiles for Ascend only"),
        ([], 2, True, "give it a stage a rank"),
        (["parallel.pipeline=2"], 4, True, "set parallel.pipeline to 4"),
        (["parallel.pipeline=4", "train_diffusion.global_batch=2"], 4, True, "a sample a stage"),
        (["parallel.pipeline=16", "train_diffusion.global_batch=32"], 16, True, "use at most"),
    ],
)
def test_what_mindspores_pipeline_cannot_run_is_refused(
    settings, ranks, has_npu, message, monkeypatch
):
    monkeypatch.setattr(parallelize, "has_npu", lambda: has_npu)
    config = load_config(None, ["parallel.pipeline_engine=mindspore", *settings])
    with pytest.raises(UserError, match=message):
        parallelize_denoiser(config, ranks=ranks)


def test_mindspores_pipeline_is_allowed_a_rank_a_stage_on_npus(monkeypatch):
    monkeypatch.setattr(parallelize, "has_npu", lambda: True)
    config = load_config(None, ["parallel.pipeline_engine=mindspore", "parallel.pipeline=2"])
    assert parallelize_denoiser(config, ranks=2).mesh.pipeline == 2
