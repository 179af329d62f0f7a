import subprocess
import sys

from prediff.profiler.record import (
    OperatorTime,
    Peaks,
    RankProfile,
    Report,
    StepTimes,
    write_report,
)
from profiling.compare import changes


def report(name: str, *, matmul: float, data: float) -> Report:
    rank = RankProfile(
        rank=0,
        host="here",
        compile_seconds=1.0,
        step_seconds=(matmul + data,),
        steps=(StepTimes(compute=matmul, communication=0, data=data, eager=0, host=0),),
        operators=(
            OperatorTime(
                module="net.first", kind="MatMul", phase="forward", calls=1, seconds=matmul
            ),
        ),
        resident_peak=1e9,
    )
    return Report(
        name=name,
        stage="small",
        made="now",
        inputs="made up",
        machine={},
        samples=1,
        operations=1e9,
        peaks=Peaks(name="device", operations=1e11, bandwidth=1e10),
        ranks=(rank,),
        modules=(),
    )


def test_what_got_slower_most_stands_first():
    rows = changes(report("a", matmul=1.0, data=0.1), report("b", matmul=0.5, data=0.9))
    assert rows[0] == ("part: data", 0.1, 0.9)
    assert rows[-1][1] - rows[-1][2] == 0.5


def test_the_script_compares_two_reports_and_refuses_a_missing_one(tmp_path):
    for name, data in (("before", 0.1), ("after", 2.0)):
        (tmp_path / name).mkdir()
        write_report(tmp_path / name, report(name, matmul=1.0, data=data))

    def run(*names: str) -> subprocess.CompletedProcess:
        command = [
            sys.executable,
            "-m",
            "profiling",
            "compare",
            *(tmp_path / name for name in names),
        ]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = run("before", "after")
    assert done.returncode == 0, done.stderr
    assert "part: data" in done.stdout
    assert "+1900.00" in done.stdout
    failed = run("before", "nowhere")
    assert failed.returncode == 2
    assert failed.stderr.startswith("error: no report")
    assert failed.stderr.count("\n") == 1
