"""Builders that are killed, interrupted, started twice, or thought dead."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import build_latents
import numpy as np
import pytest
from build_latents import FRAMES, IDENTITY, build, encode, read_event

from hpc import build_lease
from hpc.build_lease import BuildLease, builders_at_work
from hpc.cluster.mpi import SeparateRanks
from hpc.errors import UserError
from hpc.process_identity import process_namespace
from prediff.latents.layout import group_path
from prediff.latents.reader import open_store
from prediff.latents.verify import drop_damaged, verify_group

SCRIPT = Path(build_latents.__file__)
EVENTS = 10


def start(path: Path, *options: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, SCRIPT, path, "--events", str(EVENTS), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def group_of(path: Path) -> Path:
    return group_path(path, identity=IDENTITY, variant="identity")


def all_files(path: Path) -> dict[Path, bytes]:
    return {file.relative_to(path): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def wait_for(condition, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def check_right_or_refused(path: Path) -> bool:
    """Read all of a store that may be unfinished; return whether it was whole."""
    try:
        reader = open_store(path, identity=IDENTITY, variant="identity")
    except UserError:
        return False
    with reader:
        got = reader.read_array("mean", events=range(EVENTS), starts=[0] * EVENTS, length=FRAMES)
    expected = np.stack([encode(read_event(event))[0] for event in range(EVENTS)])
    np.testing.assert_array_equal(got, expected.astype(np.float16))
    return True


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    path = tmp_path_factory.mktemp("undisturbed")
    build(path, events=EVENTS)
    return all_files(path)


def test_killed_at_any_file_operation_the_next_builder_finishes_the_store(tmp_path):
    """Starts builders that kill themselves at an ever later operation, until one survives."""
    operation, survived, kept = -4, False, set()
    while not survived:
        operation += 5  # a shard takes 14 or so, so each is met at other operations
        path = tmp_path / str(operation)
        path.mkdir()
        child = subprocess.Popen(
            [sys.executable, SCRIPT, path, "--events", "4", "--die-at", str(operation)],
            stdout=subprocess.DEVNULL,
        )
        survived = child.wait(timeout=60) == 0
        try:
            open_store(path, identity=IDENTITY, variant="identity").close()
            readable = True
        except UserError:
            readable = False
        report = build(path, events=4)
        kept.add(report.shards_kept)
        assert not readable or report.shards_computed == 0
        assert verify_group(report.group).whole
        assert not list(path.rglob("*.aside"))
        assert not list(path.rglob("builder_*"))
    assert kept == {0, 1, 2}
    assert operation > 20


@pytest.mark.slow
def test_killed_at_random_moments_the_store_is_never_wrong_and_ends_the_same(tmp_path, undisturbed):
    rng = np.random.default_rng(int(os.environ.get("LATENT_KILL_SEED", "7")))
    rounds = int(os.environ.get("LATENT_KILLS", "6"))
    for _ in range(rounds):
        process = start(tmp_path, "--pause", "0.03")
        time.sleep(rng.uniform(0.15, 0.6))
        process.kill()
        process.communicate()
        check_right_or_refused(tmp_path)
    process = start(tmp_path)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert check_right_or_refused(tmp_path)
    assert all_files(tmp_path) == undisturbed
    report = json.loads(output)
    # Two batches a shard of 15 frames; the last has one batch.
    assert report["batches"] <= 2 * report["computed"]


def test_ctrl_c_leaves_finished_shards_and_nothing_aside(tmp_path):
    process = start(tmp_path, "--pause", "0.3")
    wait_for(lambda: list(tmp_path.rglob("shard_*.json")))
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode != 0
    assert not list(tmp_path.rglob("*.aside"))
    assert not list(tmp_path.rglob("builder_*"))
    report = build(tmp_path, events=EVENTS)
    assert report.shards_kept >= 1
    assert report.shards_kept + report.shards_computed == 4


def test_a_second_builder_is_refused_naming_the_first(tmp_path):
    first = start(tmp_path, "--pause", "0.3")
    wait_for(lambda: list(tmp_path.rglob(".*.mean.*.aside")))
    assert [builder.pid for builder in builders_at_work(group_of(tmp_path) / "manifest")] == [
        first.pid
    ]
    for ranks in (SeparateRanks(), SeparateRanks(rank=1, size=2)):
        with pytest.raises(UserError, match=f"process {first.pid} on host") as error:
            build(tmp_path, events=EVENTS, ranks=ranks)
        assert "\n" not in str(error.value)
    output, errors = first.communicate(timeout=30)
    assert first.returncode == 0, errors
    assert json.loads(output)["complete"]


def test_two_builders_started_together_leave_one_whole_store(tmp_path, undisturbed):
    both = [start(tmp_path, "--pause", "0.05") for _ in range(2)]
    codes = []
    for process in both:
        _, errors = process.communicate(timeout=60)
        codes.append(process.returncode)
        assert process.returncode in (0, 2), errors
    assert 0 in codes
    assert check_right_or_refused(tmp_path)
    assert all_files(tmp_path) == undisturbed


def test_two_builders_that_do_not_see_each_other_leave_whole_shards(
    tmp_path, undisturbed, monkeypatch
):
    """As over a network file system that shows files late: the signs fail, the shards do not."""
    monkeypatch.setattr(BuildLease, "_create", lambda self: _open_nowhere(self, tmp_path))
    monkeypatch.setattr(BuildLease, "_is_mine", lambda self: True)
    errors = []

    def build_quietly():
        try:
            build(tmp_path, events=EVENTS)
        except (UserError, FileNotFoundError) as error:  # the other one cleared its file away
            errors.append(error)

    threads = [threading.Thread(target=build_quietly) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(errors) < 2
    check_right_or_refused(tmp_path)
    monkeypatch.undo()
    report = build(tmp_path, events=EVENTS)
    assert verify_group(report.group).whole
    assert all_files(tmp_path).keys() == undisturbed.keys()


def _open_nowhere(sign: BuildLease, folder: Path) -> bool:
    sign._descriptor = os.open(os.devnull, os.O_RDWR)
    sign._file = folder / "no such sign"
    return True


def test_a_reader_during_the_build_is_refused_and_told_who_builds(tmp_path):
    process = start(tmp_path, "--pause", "0.3")
    wait_for(lambda: list(tmp_path.rglob("shard_*.json")))
    with pytest.raises(UserError, match=f"process {process.pid} .* is building them"):
        open_store(tmp_path, identity=IDENTITY, variant="identity")
    check = verify_group(group_of(tmp_path))
    with pytest.raises(UserError, match="another builder is at work"):
        drop_damaged(check)
    process.communicate(timeout=30)
    assert check_right_or_refused(tmp_path)


def sign_of_another_host(group: Path, **changes: object) -> Path:
    sign = {
        "host": "node17",
        "namespace": "another boot",
        "pid": 1,
        "started": 5,
        "rank": 0,
        "world": 1,
        "beat": 3,
        "progress": 0,
    }
    (group / "manifest").mkdir(parents=True, exist_ok=True)
    file = group / "manifest" / "builder_0000_of_0001"
    file.write_text(json.dumps(sign | changes))
    return file


def test_a_builder_of_another_host_that_shows_no_sign_of_life_is_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr(build_lease, "PATIENCE", 0.3)
    sign_of_another_host(group_of(tmp_path))
    begin = time.monotonic()
    assert build(tmp_path).complete
    assert time.monotonic() - begin > 0.3


def test_a_builder_of_another_host_that_shows_signs_of_life_is_respected(tmp_path, monkeypatch):
    monkeypatch.setattr(build_lease, "PATIENCE", 20.0)
    monkeypatch.setattr(build_lease, "BEAT", 0.05)
    sign_of_another_host(group_of(tmp_path))
    timer = threading.Timer(0.2, sign_of_another_host, [group_of(tmp_path)], {"beat": 4})
    timer.start()
    with pytest.raises(UserError, match="process 1 on host node17"):
        build(tmp_path)


def test_a_builder_that_gives_up_while_it_is_watched_is_not_waited_for(tmp_path):
    group = group_of(tmp_path)
    file = sign_of_another_host(group)
    timer = threading.Timer(0.2, file.unlink)
    timer.start()
    begin = time.monotonic()
    assert build(tmp_path).complete
    assert time.monotonic() - begin < build_lease.PATIENCE / 2


def test_a_process_number_that_was_given_again_is_no_sign_of_life(tmp_path):
    sign_of_another_host(
        group_of(tmp_path),
        host=socket.gethostname(),
        namespace=process_namespace(),
        pid=os.getpid(),
        started=5,
    )
    begin = time.monotonic()
    assert build(tmp_path).complete
    assert time.monotonic() - begin < 10


def test_a_builder_that_was_replaced_while_suspended_publishes_no_more(tmp_path):
    group = group_of(tmp_path)

    def encode_while_overtaken(frames):
        sign = group / "manifest" / "builder_0000_of_0001"
        sign.unlink()
        sign_of_another_host(group)
        return encode(frames)

    with pytest.raises(UserError, match="another builder took over"):
        build(tmp_path, encode=encode_while_overtaken)
    assert not list(tmp_path.rglob("shard_*.json"))
    assert (group / "manifest" / "builder_0000_of_0001").exists()


def test_a_disk_too_full_for_a_sign_leaves_none(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", refuse)
    with pytest.raises(UserError, match="No space left on device"):
        build(tmp_path)
    assert not list(tmp_path.rglob("builder_*"))
