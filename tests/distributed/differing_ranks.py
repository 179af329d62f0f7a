"""Run by test_started_alike.py under msrun: each rank has a seed of its own."""

import sys
from pathlib import Path

from hpc.environment import prepare_environment

prepare_environment()

from hpc.errors import UserError  # noqa: E402
from hpc.runtime import start_runtime  # noqa: E402
from hpc.stop import StopRequest  # noqa: E402
from prediff.config import Config  # noqa: E402
from prediff.stages.run_folder import RunFolder  # noqa: E402
from prediff.stages.sequence import run_stages  # noqa: E402

folder = Path(sys.argv[1])
with start_runtime(device="cpu") as runtime:
    rank = runtime.place.rank
    config = Config(seed=5 * rank)
    stop = StopRequest(stop_file=folder / "stop", max_seconds=None, owns_file=False)
    try:
        run_stages(RunFolder(folder / "runs"), config, runtime, stop, names={"data"})
    except UserError as error:
        (folder / f"said_{rank}").write_text(str(error))
