"""Run by test_started_alike.py under msrun: each rank has a seed and a clock of its own."""

import sys
import time
from pathlib import Path

from hpc.environment import prepare_environment

prepare_environment()

from hpc.cluster.clock_skew import clock_warning  # noqa: E402
from hpc.cluster.runtime import start_runtime  # noqa: E402
from hpc.cluster.stop import StopRequest  # noqa: E402
from hpc.errors import UserError  # noqa: E402
from prediff.config import Config  # noqa: E402
from prediff.run_folder import RunFolder  # noqa: E402
from prediff.stages import run_stages  # noqa: E402

folder = Path(sys.argv[1])
with start_runtime(device="cpu") as runtime:
    rank = runtime.place.rank
    for ahead in (0, 100):
        time.sleep(rank)  # the other one waits
        line = clock_warning(runtime, clock=lambda: time.time() + ahead * rank)  # noqa: B023
        (folder / f"clock_{ahead}_{rank}").write_text(str(line))
    config = Config(seed=5 * rank)
    stop = StopRequest(stop_file=folder / "stop", max_seconds=None, leads=False)
    try:
        run_stages(RunFolder(folder / "runs"), config, runtime, stop, names={"data"})
    except UserError as error:
        (folder / f"said_{rank}").write_text(str(error))
