"""The stand-in finds the mistakes that silicon would turn into wrong numbers or a hang.

Each program makes one mistake by calling the device directly; MindSpore is not imported.
"""

import pytest
from device import run_python, start_python

pytestmark = pytest.mark.ascend
START = """
import sys
import numpy as np
from pathlib import Path
from device import Device, HALF
device = Device()
one = device.scalar(1.0)
x = np.arange(6, dtype=np.float32).reshape(2, 3)
stream = device.stream()
def tensor(pointer, shape=(2, 3), *kind):
    return device.tensor(pointer, shape, *kind)
"""


def found(standin_root, program, **options):
    code, said = run_python(standin_root, START + program, **options)
    assert code == 86, said
    return said


def test_a_sum_over_the_stand_in_is_a_sum(standin_root):
    program = """
a, b, out = device.put(x), device.put(x), device.malloc(x.nbytes)
device.launch("Add", tensor(a), tensor(b), one, tensor(out), stream=stream)
device.synchronize(stream)
print(device.get(out, x).tolist())
"""
    code, said = run_python(standin_root, START + program, delay_us=500)
    assert code == 0, said
    assert "[[0.0, 2.0, 4.0], [6.0, 8.0, 10.0]]" in said


def test_a_tensor_freed_too_early_is_found(standin_root):
    said = found(
        standin_root,
        """
a, out = device.put(x), device.malloc(x.nbytes)
device.free(a)
device.launch("Neg", tensor(a), tensor(out), stream=stream)
""",
    )
    assert "aclnnNeg reads memory that was freed (input 0, 24 bytes)" in said


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("device.put(x[:1])", "aclnnNeg reads 12 bytes beyond the end of its block"),
        ("x.ctypes.data", "aclnnNeg reads a host pointer"),
        ("device.malloc(24)", "aclnnNeg reads memory that nobody wrote"),
    ],
)
def test_reads_of_what_is_not_there_name_the_operator(standin_root, source, complaint):
    said = found(
        standin_root,
        f"""
kept = {source}
import ctypes
device.launch("Neg", tensor(ctypes.c_void_p(getattr(kept, "value", kept))),
              tensor(device.malloc(24)), stream=stream)
""",
    )
    assert complaint in said


def test_factors_of_two_types_are_found(standin_root):
    said = found(
        standin_root,
        """
a, b = device.put(x), device.put(x.T.astype(np.float16))
device.launch("Matmul", tensor(a), tensor(b, (3, 2), HALF), tensor(device.malloc(16), (2, 2)), 0,
              stream=stream)
device.synchronize(stream)
""",
    )
    assert "aclnnMatmul: the factors have types float32 and float16" in said


TWO_STREAMS = """
other, event = device.stream(), device.event()
a, b, c = device.put(x), device.malloc(x.nbytes), device.malloc(x.nbytes)
device.launch("Neg", tensor(a), tensor(b), stream=stream)
if ORDERED:
    device.lib.aclrtRecordEvent(event, stream)
    device.lib.aclrtStreamWaitEvent(other, event)
device.launch("Abs", tensor(b), tensor(c), stream=other)
device.synchronize(other)
print(device.get(c, x).sum())
"""


def test_a_missing_event_is_found_whatever_the_timing(standin_root):
    said = found(standin_root, f"ORDERED = False\n{TWO_STREAMS}")
    assert "race: aclnnAbs on stream 2 reads what is being written by aclnnNeg on stream 1" in said


@pytest.mark.parametrize("seed", [1, 2])
def test_with_the_event_the_second_stream_waits(standin_root, seed):
    program = f"{START}ORDERED = True\n{TWO_STREAMS}"
    code, said = run_python(standin_root, program, seed=seed, delay_us=20000)
    assert code == 0, said
    assert "15.0" in said


def test_the_host_must_wait_for_the_stream_before_it_reads(standin_root):
    said = found(
        standin_root,
        """
b = device.malloc(x.nbytes)
device.launch("Neg", tensor(device.put(x)), tensor(b), stream=stream)
device.get(b, x)
""",
    )
    assert "race: aclrtMemcpy on the host reads what is being written by aclnnNeg" in said


RANKS = """
import ctypes
rank = int(sys.argv[2])
comm = device.join(Path(sys.argv[1]), ranks=2, rank=rank)
buffers = [device.put(np.full(n, rank, np.float32)) for n in (4, 8)]
def hccl(name, buffer, count, *rest):
    code = getattr(device.lib, "Hccl" + name)(buffer, ctypes.c_uint64(count), *rest, comm, stream)
    assert code == 0, code
"""


def two_ranks(root, tmp_path, program, **options):
    ranks = [
        start_python(root, START + RANKS + program, str(tmp_path), str(r), rank=r, **options)
        for r in range(2)
    ]
    said = [process.communicate(timeout=60)[0] for process in ranks]
    return [process.returncode for process in ranks], "".join(said)


def test_swapped_sends_are_found(standin_root, tmp_path):
    codes, said = two_ranks(
        standin_root,
        tmp_path,
        """
first, second = (4, 8) if rank == 0 else (8, 4)
for count in (first, second):
    hccl("Send" if rank == 0 else "Recv", buffers[count // 8], count, 4, 1 - rank)
device.synchronize(stream)
""",
        timeout_s=2,
    )
    assert 86 in codes
    assert "rank 1 launched Recv of 8 float32 (0), rank 0 launched Send of 4 float32 (1)" in said


def test_collectives_that_do_not_agree_are_found_on_both_ranks(standin_root, tmp_path):
    codes, said = two_ranks(
        standin_root,
        tmp_path,
        """
hccl("Broadcast", buffers[0], 4 + 4 * rank * 0, 4 if rank == 0 else 2, 0)
device.synchronize(stream)
""",
    )
    assert codes == [86, 86]
    assert (
        "rank 0 launched Broadcast of 4 float32 (0), rank 1 launched Broadcast of 4 int32" in said
    )


def test_a_deadlock_ends_with_a_line_that_names_both_ranks(standin_root, tmp_path):
    codes, said = two_ranks(
        standin_root,
        tmp_path,
        """
hccl("Send", buffers[0], 4, 4, 1 - rank)   # both send first, and a send waits for its receive
hccl("Recv", buffers[1], 4, 4, 1 - rank)
sys.exit(device.synchronize(stream) == 507046)
""",
        timeout_s=2,
    )
    assert codes == [1, 1]
    assert "EI0002: the wait for a notify ran out: rank 0 in Send of 4 float32 (1)" in said
    assert "waited 2 s for rank 1, whose last operator there is: Send of 4 float32 (0)" in said


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        ("device_lost@2", 507010, "device lost at the launch of aclnnNeg"),
        ("out_of_memory@2", 207001, "out of memory: 24 bytes asked"),
    ],
)
def test_faults_come_when_they_are_asked_for(standin_root, fault, code, words):
    program = """
try:
    a, b = device.put(x), device.malloc(24)
    codes = [device.launch("Neg", tensor(a), tensor(b), stream=stream) for _ in range(2)]
    print("codes", codes, device.last_error())
except MemoryError as error:
    print(error)
"""
    ended, said = run_python(standin_root, START + program, fault=fault)
    assert ended == 0, said
    assert str(code) in said
    assert words in said


def test_a_link_that_goes_down_ends_the_wait(standin_root, tmp_path):
    codes, said = two_ranks(
        standin_root,
        tmp_path,
        """
hccl("Send" if rank == 0 else "Recv", buffers[0], 4, 4, 1 - rank)
sys.exit({0: 0, 507056: 3, 507046: 4}[device.synchronize(stream)])
""",
        fault="link_down",
        fault_rank=0,
        timeout_s=2,
    )
    assert codes == [3, 4], said
    assert "EI0013: link down during Send" in said


def test_the_ledger_counts_launches_and_bytes(standin_root, tmp_path):
    import json

    program = """
b = device.malloc(24)
device.launch("Neg", tensor(device.put(x)), tensor(b), stream=stream)
device.synchronize(stream)
"""
    code, said = run_python(standin_root, START + program, ledger=tmp_path)
    assert code == 0, said
    (file,) = tmp_path.glob("rank_0_*.json")
    kept = json.loads(file.read_text())
    assert kept["device"] == "stand-in, no silicon"
    assert (kept["aclnn"], kept["aclop"], kept["errors"]) == (1, 0, [])
    assert kept["launches"]["aclnnNeg"] == {"count": 1, "bytes": 48}
