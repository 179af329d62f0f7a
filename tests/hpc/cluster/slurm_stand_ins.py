"""Stand-ins for srun, scontrol and msrun, and a rank without MindSpore, for tests of a Slurm job.

All nodes are this host. `FAST` in place of the supervisor's command line looks around more often.
"""

import os
import sys
from pathlib import Path

SRUN = """\
import os, signal, subprocess, sys
command, options = sys.argv[1:], {}
while command[0].startswith("--"):
    name, _, value = command.pop(0).partition("=")
    options[name] = value
if "FAST" in os.environ:
    command = [sys.executable, "-c", os.environ["FAST"], *command[4:]]
nodes = int(options["--nodes"])
tasks = [
    subprocess.Popen(
        command, env={**os.environ, "SLURM_NODEID": str(n), "SLURM_STEP_NUM_NODES": str(nodes)}
    )
    for n in range(nodes)
]
signal.signal(signal.SIGTERM, lambda *_: [task.terminate() for task in tasks])
sys.exit(max(abs(task.wait()) for task in tasks))
"""
MSRUN = """\
import os, subprocess, sys
command = sys.argv[sys.argv.index("python"):]
options = dict(text[2:].split("=") for text in sys.argv[1:] if text[:2] == "--" and "=" in text)
environ = {
    **os.environ,
    "MS_ROLE": "MS_WORKER",
    "RANK_ID": options.get("node_rank", "0"),
    "RANK_SIZE": options["worker_num"],
}
rank = subprocess.Popen(command, env=environ, start_new_session=True)
if rank.wait():
    print(f"Worker process {rank.pid} exit with exception. Error code: {rank.returncode}.")
    sys.exit(1)
"""
SCONTROL = """\
import os, sys
open("scontrol.log", "a").write(" ".join(sys.argv[1:]) + "\\n")
if sys.argv[1:3] == ["show", "hostnames"]:
    print("n1\\nn2")
if sys.argv[1:3] == ["show", "job"]:
    print(f"JobId=7 EndTime={os.environ.get('END_TIME', 'Unknown')} Deadline=N/A")
if sys.argv[1:3] == ["show", "node"]:
    print("NodeName=n1 NodeAddr=" + ("127.0.1.1" if sys.argv[3] == "n1" else "198.51.100.7"))
"""
RANK = """\
import os, signal, sys, time
from pathlib import Path
from hpc.cluster import heartbeat
from hpc.cluster.job import enter_job, log_folder, record_exit_code
from hpc.cluster.rank_log import redirect_to_rank_log
from hpc.cluster.stop import StopRequest

enter_job()
rank, what = int(os.environ["RANK_ID"]), sys.argv[1]
last = rank == int(os.environ["RANK_SIZE"]) - 1
redirect_to_rank_log(Path("log"), rank)
heartbeat.SHORTEST_PROMISE = 1.0 if what == "hangs" else 40.0
heartbeat.WRITE_SECONDS = 0.1
signs = heartbeat.Heartbeat(log_folder(), rank=rank)
with StopRequest(stop_file=Path("stop"), max_seconds=None, leads=rank == 0) as stop:
    print("started", flush=True)
    if what == "dies" and last:
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "bad" and last:
        sys.exit(record_exit_code(2))
    step = 0
    while what not in ("good", "quits") and (what == "deaf" or not stop.reason()):
        if what == "hangs" and step == (5 if last else 6):
            time.sleep(60)
        signs.step(step)
        step += 1
        time.sleep(0.05)
sys.exit(0 if what == "quits" else record_exit_code(0 if what == "good" else 75))
"""
FAST = """\
from hpc.cluster import supervisor
supervisor.LOOK_SECONDS, supervisor.SILENT_SECONDS, supervisor.POLL_SECONDS = 0.3, 2.0, 0.05
supervisor.FILES_SECONDS = 0.2
supervisor.main()
"""


def make_site(folder: Path, monkeypatch) -> None:
    """Put the stand-ins on PATH and a rank as module `rank` where Python finds it; go there."""
    for name, text in {"srun": SRUN, "msrun": MSRUN, "scontrol": SCONTROL}.items():
        command = folder / "bin" / name
        command.parent.mkdir(exist_ok=True)
        command.write_text(f"#!{sys.executable}\n{text}")
        command.chmod(0o755)
    (folder / "rank.py").write_text(RANK)
    (folder / "log").mkdir()
    path = f"{folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    monkeypatch.setenv("PATH", path)
    monkeypatch.setenv("PYTHONPATH", f"{folder}:{Path(__file__).parents[3]}")
    monkeypatch.chdir(folder)
