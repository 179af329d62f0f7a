import socket

import pytest

from hpc import environment
from hpc.cluster import runtime as runtime_module
from hpc.cluster.mesh import Mesh
from hpc.cluster.process_info import ProcessInfo
from hpc.cluster.runtime import Runtime, start_runtime
from hpc.environment import check_threads, prepare_environment
from hpc.errors import UserError


@pytest.fixture(scope="module")
def runtime():
    return start_runtime(device="cpu")


def test_one_process_needs_no_collectives(runtime):
    assert runtime.is_first
    assert runtime.world_group is None
    assert runtime.all_gather_object("a") == ["a"]
    assert runtime.broadcast_object(3) == 3
    assert runtime.data_group(Mesh()) is None
    assert runtime.pipeline_group(Mesh()) is None
    runtime.require_same("anything", 1)
    with runtime:
        runtime.barrier()


def test_an_unknown_device_is_refused():
    with pytest.raises(UserError, match="'gpu' is unknown: use auto, cpu or npu"):
        start_runtime(device="gpu")


def test_an_npu_that_is_not_there_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(environment, "NPU_DEVICES", tmp_path)
    with pytest.raises(UserError, match="no NPU on this host"):
        start_runtime(device="npu")


def test_an_npu_is_found_by_its_device_file(monkeypatch, tmp_path):
    monkeypatch.setattr(environment, "NPU_DEVICES", tmp_path)
    (tmp_path / "davinci_manager").touch()
    assert not environment.has_npu()
    (tmp_path / "davinci7").touch()
    assert environment.has_npu()


def test_a_rank_whose_scheduler_is_not_there_says_so_in_one_line(monkeypatch):
    monkeypatch.setattr(runtime_module, "SCHEDULER_SECONDS", 0.0)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        left_over = {
            "MS_ROLE": "MS_WORKER",
            "MS_SCHED_HOST": "127.0.0.1",
            "MS_SCHED_PORT": str(free.getsockname()[1]),
        }
        with pytest.raises(UserError, match="unset MS_ROLE if it is left over"):
            runtime_module._require_scheduler(left_over)
        free.listen()
        runtime_module._require_scheduler(left_over)


def test_ranks_share_the_cores_of_their_host(monkeypatch):
    monkeypatch.setattr(environment.os, "sched_getaffinity", lambda pid: set(range(24)))
    # The allocation's nodes are not this job's: a start on one of them by hand has them as well.
    environ = {"MS_ROLE": "MS_WORKER", "MS_WORKER_NUM": "8", "SLURM_JOB_NUM_NODES": "2"}
    prepare_environment(environ)
    assert environ["OMP_NUM_THREADS"] == "3"
    assert environ["MS_CPU_COMM_OP_TIMEOUT"] == "600"
    environ = {"MS_ROLE": "MS_WORKER", "MS_WORKER_NUM": "64"}
    prepare_environment(environ)
    assert environ["OMP_NUM_THREADS"] == "1"


def test_what_the_user_set_stays():
    environ = {"MS_ROLE": "MS_WORKER", "MS_WORKER_NUM": "2", "OMP_NUM_THREADS": "7"}
    prepare_environment(environ)
    assert environ["OMP_NUM_THREADS"] == "7"


def test_of_a_list_of_threads_the_outer_level_counts():
    environ = {"OMP_NUM_THREADS": "2,1"}
    prepare_environment(environ)
    assert environ["OMP_NUM_THREADS"] == "2"
    check_threads(environ)
    environ = {"OMP_NUM_THREADS": ""}
    prepare_environment(environ)
    check_threads(environ)


@pytest.mark.parametrize("threads", ["many", "0", "-1"])
def test_threads_that_are_no_number_are_refused(threads):
    environ = {"OMP_NUM_THREADS": threads}
    prepare_environment(environ)
    with pytest.raises(UserError, match="is no number of threads"):
        check_threads(environ)
    environ = {"OMP_NUM_THREADS": ""}
    prepare_environment(environ)
    check_threads(environ)


@pytest.mark.parametrize(
    ("version", "npu", "expected"),
    [
        ("2.8.0", False, None),
        ("2.9.1", False, "AVX2"),
        ("2.10.0", False, "AVX2"),
        ("2.10.0", True, None),
    ],
)
def test_slow_convolutions_are_avoided_where_mindspore_has_them(
    monkeypatch, version, npu, expected
):
    monkeypatch.setattr(environment, "version", lambda package: version)
    monkeypatch.setattr(environment, "has_npu", lambda: npu)
    environ = {}
    prepare_environment(environ)
    assert environ.get("ONEDNN_MAX_CPU_ISA") == expected


def test_what_ran_over_a_stand_in_does_not_pass_for_silicon(monkeypatch):
    runtime = Runtime(place=ProcessInfo(), device="Ascend", world_group=None)
    monkeypatch.delenv("PREDIFF_STANDIN", raising=False)
    assert runtime.device_name == "Ascend"
    monkeypatch.setenv("PREDIFF_STANDIN", "1")
    assert runtime.device_name == "Ascend stand-in, no silicon"
