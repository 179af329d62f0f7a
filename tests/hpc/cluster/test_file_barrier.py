import threading
import time

from hpc.cluster.file_barrier import FileBarrier


def barrier(folder, rank: int, job: str = "now") -> FileBarrier:
    return FileBarrier(folder, job=job, rank=rank, size=2)


def test_a_rank_waits_until_the_other_has_come_as_often(tmp_path):
    first, second = barrier(tmp_path, 0), barrier(tmp_path, 1)
    times = []

    def late() -> None:
        for _ in range(3):
            time.sleep(0.2)
            times.append(time.monotonic())
            second.wait()

    thread = threading.Thread(target=late)
    thread.start()
    for number in range(3):
        first.wait()
        assert len(times) == number + 1
        assert time.monotonic() >= times[number]
    thread.join()


def test_files_of_an_earlier_job_count_for_nothing(tmp_path):
    (tmp_path / "rank_1.barrier").write_text("before 100")
    waiter = threading.Thread(target=barrier(tmp_path, 0).wait, daemon=True)
    waiter.start()
    waiter.join(0.3)
    assert waiter.is_alive()
    barrier(tmp_path, 1).wait()
    waiter.join(5)
    assert not waiter.is_alive()
