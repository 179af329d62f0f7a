"""A real Slurm with two nodes on this one host, for tests and for trying batch scripts by hand.

    python tests/distributed/slurm/two_nodes.py sbatch --wait launch/cluster.slurm --name first

Each slurmd lives in a network namespace of its own and the two are joined by a virtual cable, so
that msrun on the second node does not take the first node's address for its own. The controller
runs in the first namespace; nothing on the host's own network is touched. Needs root.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

DAEMONS = ("slurmctld", "slurmd")
ADDRESSES = ("10.213.97.1", "10.213.97.2")
SLURM_CONF = """\
ClusterName=twonodes
SlurmctldHost={host}({address})
SlurmctldPort=26817
AuthType=auth/none
CredType=cred/none
AuthInfo=cred_expire=5
SlurmUser=root
SlurmdUser=root
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
JobRequeue=1
KillWait=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool_%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd_%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd_%n.log
GresTypes=npu
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
NODE = (
    "NodeName=node{number} NodeHostname={host} NodeAddr={address} Port={port} "
    "CPUs={cpus} RealMemory=2000 Gres=npu:8 State=UNKNOWN"
)


def missing() -> str | None:
    """Return why a two-node Slurm cannot be started here, or None."""
    if os.geteuid() != 0:
        return "starting slurmd needs root"
    absent = [d for d in (*DAEMONS, "sbatch", "nsenter", "unshare", "ip") if not _find(d)]
    if absent:
        return f"{', '.join(absent)} not installed: bash tests/distributed/slurm/install.sh"
    probe = subprocess.run(
        "unshare --net ip link add name left type veth peer name right",
        shell=True,
        capture_output=True,
    )
    return None if probe.returncode == 0 else "network namespaces are not allowed here"


class TwoNodes:
    """The cluster, running between ``__enter__`` and ``__exit__``.

    Args:
        folder: of configuration, state and the daemons' logs; its path must be short.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._processes: list[subprocess.Popen] = []
        self._nets: list[subprocess.Popen] = []

    def __enter__(self) -> "TwoNodes":
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *unused: object) -> None:
        """Kill the daemons, every job they still run, and with the holders the namespaces."""
        mark = str(self.folder / "slurm.conf")
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.pid != os.getpid() and process.environ().get("SLURM_CONF") == mark:
                    process.kill()
        for started in (*self._processes, *self._nets):
            started.kill()
            started.wait()

    def run(
        self, command: Sequence[str], *, node: int = 0, timeout: float = 30, **options: object
    ) -> subprocess.CompletedProcess:
        """Run a command on a node, such as sbatch; its output as text, its failure raised."""
        settings: dict = {"check": True, "text": True, "stdout": subprocess.PIPE, **options}
        return subprocess.run(
            [*self._inside(node), *command], env=self._environ(), timeout=timeout, **settings
        )

    def state(self, job: str) -> str:
        """Return a job's state, such as RUNNING."""
        shown = self.run(["scontrol", "show", "job", job, "--oneliner"]).stdout
        return shown.split("JobState=")[1].split()[0]

    def _environ(self) -> Mapping[str, str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SBATCH_"))}
        return {**inherited, "SLURM_CONF": str(self.folder / "slurm.conf")}

    def _inside(self, node: int) -> list[str]:
        return ["nsenter", f"--net=/proc/{self._nets[node].pid}/ns/net"]

    def _start(self) -> None:
        for name in ("state", "spool_node0", "spool_node1"):
            (self.folder / name).mkdir(parents=True)
        self._configure()
        for _ in ADDRESSES:
            self._nets.append(subprocess.Popen(["unshare", "--net", "sleep", "infinity"]))
        self._connect()
        conf = str(self.folder / "slurm.conf")
        self._daemon(0, "slurmctld", "-D", "-c", "-f", conf)
        for node in range(2):
            self._daemon(node, "slurmd", "-D", "-N", f"node{node}", "-f", conf)
        deadline = time.monotonic() + 30
        while self.run(["sinfo", "-h", "-o", "%D %t"], check=False).stdout.strip() != "2 idle":
            if time.monotonic() > deadline:
                logs = "\n".join(log.read_text() for log in self.folder.glob("*.log"))
                raise TimeoutError(f"Slurm does not come up:\n{logs[-4000:]}")
            time.sleep(0.2)

    def _configure(self) -> None:
        host = socket.gethostname().split(".")[0]
        nodes = "\n".join(
            NODE.format(
                number=number,
                host=host,
                address=address,
                port=26818 + number,
                cpus=os.cpu_count(),
            )
            for number, address in enumerate(ADDRESSES)
        )
        text = SLURM_CONF.format(host=host, address=ADDRESSES[0], folder=self.folder, nodes=nodes)
        (self.folder / "slurm.conf").write_text(text)
        (self.folder / "gres.conf").write_text("Name=npu Count=8\n")
        (self.folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")

    def _connect(self) -> None:
        time.sleep(0.2)  # until both holders have left our namespace
        own = os.readlink("/proc/self/ns/net")
        while any(os.readlink(f"/proc/{net.pid}/ns/net") == own for net in self._nets):
            time.sleep(0.05)
        peer = str(self._nets[1].pid)
        self.run(
            ["ip", "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", peer]
        )
        for node, address in enumerate(ADDRESSES):
            self.run(["ip", "addr", "add", f"{address}/24", "dev", "cable"], node=node)
            for link in ("lo", "cable"):
                self.run(["ip", "link", "set", link, "up"], node=node)

    def _daemon(self, node: int, name: str, *arguments: str) -> None:
        path = _find(name)
        assert path is not None, f"{name} was found by missing()"
        output = (self.folder / f"{name}_{node}.out.log").open("wb")
        self._processes.append(
            subprocess.Popen(
                [*self._inside(node), path, *arguments],
                env=self._environ(),
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )
        )


def _find(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


def main() -> int:
    """Run the command of the command line on the first node of a fresh cluster."""
    reason = missing()
    if reason:
        print(f"error: {reason}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder, TwoNodes(Path(folder)) as cluster:
        done = cluster.run(sys.argv[1:], timeout=86400, check=False, stdout=None)
        return done.returncode


if __name__ == "__main__":
    sys.exit(main())
