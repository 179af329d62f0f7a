"""A rank without MindSpore, for the tests of the supervisor.

    python -m launched_rank WAY STOP_FILE

WAY is what it does once it runs: `good`, `bad_input` (on rank 1), `crash` (rank 1), `steps` (until
the stop file is touched), `hang` (rank 1 gives no more signs).
"""

import os
import sys
import time
from pathlib import Path

from hpc.cluster import heartbeat
from hpc.cluster.job import enter_job, log_folder, record_exit_code
from hpc.cluster.rank_log import redirect_to_rank_log
from hpc.cluster.stop import STOPPED_EXIT_CODE


def main() -> int:
    enter_job()
    if os.environ["MS_ROLE"] == "MS_SCHED":
        while not list(log_folder().glob("rank_*.exit")):  # as long as its ranks
            time.sleep(0.05)
        return 0
    rank, way, stop_file = int(os.environ["RANK_ID"]), sys.argv[1], Path(sys.argv[2])
    redirect_to_rank_log(log_folder().parent, rank)
    if way == "bad_input" and rank == 1:
        print("error: no such data", file=sys.stderr)
        return record_exit_code(2)
    if way == "crash" and rank == 1:
        raise RuntimeError("a bug")
    if way == "good":
        print("all is well")
        return record_exit_code(0)
    heartbeat.SHORTEST_PROMISE, heartbeat.WRITE_SECONDS = 2.0, 0.1
    signs = heartbeat.Heartbeat(log_folder(), rank=rank)
    for step in range(600):
        if way == "hang" and rank == 1 and step == 5:
            time.sleep(60)
        if way == "hang" and rank == 0 and step == 6:  # waits for rank 1
            time.sleep(60)
        signs.step(step)
        if step == 5:
            print("steps")
        if stop_file.exists():
            time.sleep(0.5 * rank)
            print("saved a checkpoint")
            return record_exit_code(STOPPED_EXIT_CODE)
        time.sleep(0.1)
    return 1


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)
