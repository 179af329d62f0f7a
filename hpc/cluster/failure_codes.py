"""What the codes of HCCL and of the Ascend runtime in a dead rank's log mean, in one line.

    explain(log.read_text(errors="replace"))
    -> "EI0006: no connection to another rank: look for the rank that died or never started, ..."

The codes follow the public error-code reference (rt_error_codes.h and the HCCL fault chapter of
CANN 8); their meanings are partly general knowledge, not compared with it line by line, and the
advice is ours. None has been seen in a log of a real NPU.

The first code of a log is the cause and later ones mostly its echo; but a rank that waited for
another one is never the cause where the other rank has a code of its own: `first_cause` looks at
all of them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Failure:
    """A code, what it means and what to look at first."""

    code: str
    meaning: str
    advice: str
    waits_for_others: bool = False
    """The rank only waited: the cause lies with another rank."""

    def __str__(self) -> str:
        return f"{self.code}: {self.meaning}: {self.advice}"


_LINK = "hccn_tool -i DEVICE -link -g on both hosts, cables and switch"
_DEVICE = "npu-smi info on that host; reset the device or leave the host out"
FAILURES = {
    failure.code: failure
    for failure in (
        Failure(
            "EI0001",
            "HCCL does not accept an environment variable",
            "the variable that the log names",
        ),
        Failure(
            "EI0002",
            "a wait for another rank ran out (notify)",
            "look for the rank that stopped first or is far behind; a longer HCCL_EXEC_TIMEOUT "
            "helps only where a rank compiles or saves for minutes",
            waits_for_others=True,
        ),
        Failure(
            "EI0003",
            "HCCL got an argument that it does not accept",
            "the operator and the argument that the log names",
        ),
        Failure(
            "EI0004",
            "the ranks do not fit the rank table",
            "number of ranks and devices of each host in the launch command",
        ),
        Failure(
            "EI0005",
            "ranks launched operators that do not agree",
            "the same commit, configuration and CANN on every host (python -m prediff compares "
            "them at the start)",
        ),
        Failure(
            "EI0006",
            "no connection to another rank in time",
            "look for the rank that died or never started, then firewall and HCCL_IF_IP; a longer "
            "HCCL_CONNECT_TIMEOUT helps where a host starts slowly",
            waits_for_others=True,
        ),
        Failure(
            "EI0007",
            "the device has no room for HCCL's buffers",
            "a smaller micro batch, or a smaller HCCL_BUFFSIZE",
        ),
        Failure(
            "EI0008", "the hosts have different versions of CANN", "the same CANN on every host"
        ),
        Failure("EI0009", "transport between two devices failed", _LINK),
        Failure("EI0012", "the device's copy engine reported an error", _DEVICE),
        Failure("EI0013", "an error on the RoCE link", _LINK),
        Failure("EI0015", "the ranks could not agree on the cluster", "the log of rank 0 first"),
        Failure(
            "EJ0001",
            "HCCL's host part did not start",
            "another process on that device (npu-smi info); /dev/davinci_manager in the container",
        ),
        Failure("EJ0002", "the device's network port is down", _LINK),
        Failure(
            "EJ0003",
            "HCCL could not bind its port",
            "another job on that host, or one left over: kill it, or set HCCL_IF_BASE_PORT",
        ),
        Failure(
            "EJ0004", "the device's network address is not usable", "hccn_tool -i DEVICE -ip -g"
        ),
        Failure(
            "EL0004",
            "the device is full",
            "a smaller micro batch, denoiser.recompute, or a pipeline (prediff plan estimates)",
        ),
        Failure("EL0005", "the device is busy", "npu-smi info: who else uses it"),
        Failure("EE1001", "a call of the runtime had a wrong argument", "report it with the log"),
        Failure("EZ9999", "an error inside of CANN", "the lines of the log after it; report them"),
        Failure("107001", "there is no such device", "ranks of each host and npu-smi info"),
        Failure("107002", "no device was set on this thread", "report it with the log"),
        Failure("107020", "a task ran longer than allowed", "the operator that the log names"),
        Failure("107022", "the device's tasks are being aborted", "the first error above it", True),
        Failure(
            "207001",
            "the device has no memory left",
            "a smaller micro batch, denoiser.recompute, or a pipeline (prediff plan estimates)",
        ),
        Failure("207004", "no device is visible", "the driver: npu-smi info, /dev/davinci*"),
        Failure("207006", "no permission to use the device", "groups of this user, the container"),
        Failure(
            "207018",
            "the device has no memory left",
            "a smaller micro batch, denoiser.recompute, or a pipeline (prediff plan estimates)",
        ),
        Failure("507008", "CANN does not know this chip", "another CANN, or soc_version"),
        Failure("507010", "the device does not answer any more", _DEVICE),
        Failure("507013", "the device's copy engine failed", _DEVICE),
        Failure("507014", "an operator did not end (AI Core timeout)", "the operator in the log"),
        Failure("507015", "an operator failed on the AI Core", "the operator in the log"),
        Failure("507018", "an operator failed on the AI CPU", "the operator in the log"),
        Failure("507033", "the device could not be set up", _DEVICE),
        Failure("507034", "an operator did not end (vector core)", "the operator in the log"),
        Failure("507035", "an operator failed on the vector core", "the operator in the log"),
        Failure(
            "507046",
            "a stream did not end in time",
            "look for the rank that stopped first; else the operator in the log",
            waits_for_others=True,
        ),
        Failure(
            "507047",
            "an event did not come in time",
            "look for the rank that stopped first; else the operator in the log",
            waits_for_others=True,
        ),
        Failure(
            "507048",
            "a wait between devices ran out",
            "look for the rank that stopped first; else the operator in the log",
            waits_for_others=True,
        ),
        Failure("507053", "a memory error of the device", _DEVICE),
        Failure("507054", "a memory error (ECC) that the device could not correct", _DEVICE),
        Failure("507056", "the link between two devices failed", _LINK),
        Failure("507057", "another device failed", "the rank with a code of its own", True),
        Failure("507899", "an error inside of the driver", _DEVICE),
        Failure("507901", "the driver lost its connection to the device", _DEVICE),
    )
}
_CODE = re.compile(
    r"(?<![\w.])(?:(E[A-Z][0-9]{4})(?=[:\])])"
    r"|(?:code(?: is)?|ret(?:Code)?|errno|result)[\s:=\[\(]*([125]0[0-9]{4})(?!\d))"
)


def find_failures(log: str) -> list[Failure]:
    """Return the known failures that a log names, each once, in the order of their mention."""
    found = (match[1] or match[2] for match in _CODE.finditer(log))
    return [FAILURES[code] for code in dict.fromkeys(found) if code in FAILURES]


def explain(log: str) -> str | None:
    """Return a line about the first failure that is a cause in a rank's log, or None.

    A wait for another rank counts only where the log has nothing else.
    """
    failures = find_failures(log)
    causes = [failure for failure in failures if not failure.waits_for_others] or failures
    return str(causes[0]) if causes else None


def first_cause(logs: Mapping[int, str]) -> tuple[int, str] | None:
    """Return the rank that most likely failed first and the line about it, or None.

    A rank with a failure of its own goes before ranks that only waited; among equals the lowest.

    Args:
        logs: text of the log of each rank that died, or its end.
    """
    found = {rank: find_failures(log) for rank, log in sorted(logs.items())}
    for waited in (False, True):
        for rank, failures in found.items():
            for failure in failures:
                if failure.waits_for_others == waited:
                    return rank, str(failure)
    return None
