import threading
import time

from hpc.meeting import Meeting


def meeting(folder, rank: int, job: str = "now") -> Meeting:
    return Meeting(folder, job=job, rank=rank, size=2)


def test_a_rank_waits_until_the_other_has_come_as_often(tmp_path):
    first, second = meeting(tmp_path, 0), meeting(tmp_path, 1)
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
    (tmp_path / "rank_1.meeting").write_text("before 100")
    waiter = threading.Thread(target=meeting(tmp_path, 0).wait, daemon=True)
    waiter.start()
    waiter.join(0.3)
    assert waiter.is_alive()
    meeting(tmp_path, 1).wait()
    waiter.join(5)
    assert not waiter.is_alive()
