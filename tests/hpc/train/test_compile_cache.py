"""What compiles runs in a process of its own: MindSpore's cache is one a process."""

import os
import subprocess
import sys
from pathlib import Path

from hpc.cluster.runtime import ALONE
from hpc.train import compile_cache
from hpc.train.compile_cache import CompileCache

SCRIPT = """
import sys
from pathlib import Path
import mindspore as ms, numpy as np
from mindspore import Tensor, nn
from hpc.train.compile_cache import CompileCache
from hpc.cluster.runtime import start_runtime

class Times(nn.Cell):
    def __init__(self, c):
        super().__init__()
        self.c = c
    def construct(self, x):
        return x * self.c

class Plus(Times):
    def construct(self, x):
        return x + self.c

folder = Path(sys.argv[1])
cache = CompileCache(folder, runtime=start_runtime(device="cpu"), packages=[])
x = Tensor(np.ones(3, np.float32))
for word in sys.argv[2:]:
    cell = {"t": Times, "p": Plus}[word[0]](float(word[1:]))
    loaded = cache.compile(cell, x)
    print("RESULT", word, loaded, float(cell(x)[0].asnumpy()))
"""


def run(script: Path, folder: Path, *words: str) -> list[tuple[bool, float]]:
    command = [sys.executable, str(script), str(folder), *words]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    lines = [line.split() for line in output.splitlines() if line.startswith("RESULT")]
    assert [line[1] for line in lines] == list(words)
    return [(line[2] == "True", float(line[3])) for line in lines]


def test_graphs_are_loaded_in_any_order_and_never_mistaken(tmp_path):
    script, folder = tmp_path / "script.py", tmp_path / "graphs"
    script.write_text(SCRIPT)
    assert run(script, folder, "t2", "p3") == [(False, 2.0), (False, 4.0)]
    # Another order, other constants: MindSpore's own cache gets these wrong without a word.
    assert run(script, folder, "p3", "t2", "t5") == [(True, 4.0), (True, 2.0), (False, 5.0)]

    graph = next(path for path in folder.iterdir() if path.is_dir()) / "graph"
    content = bytearray(graph.read_bytes())
    content[len(content) // 2] ^= 1
    graph.chmod(0o600)
    graph.write_bytes(content)
    words = {"t2": 2.0, "p3": 4.0, "t5": 5.0}
    results = [run(script, folder, word)[0] for word in words]
    assert [value for _, value in results] == list(words.values())
    assert sorted(loaded for loaded, _ in results) == [False, True, True]


def stored_graph(folder: Path, *, library: str) -> Path:
    text = f"{library}:GroupNorm".encode()
    assert len(text) < 0x80
    folder.mkdir(mode=0o700)
    graph = b"\x1aR\n\tfunc_name*" + bytes([len(text)]) + text + b"\x80\x01\x08"
    (folder / "graph").write_bytes(b"CNode" + graph)
    return folder


def test_a_graph_that_loads_another_library_than_ours_is_not_used(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    own = tmp_path / "prediff-hpc"
    own.mkdir(mode=0o700)
    (own / "elementwise.so").touch(0o755)
    assert compile_cache._is_ours(stored_graph(tmp_path / "a", library=f"{own}/elementwise.so"))
    for number, library in enumerate(
        ("/tmp/e.so", f"{own}/../e.so", f"{own}/absent.so", "e.so", f"/evil{own}/elementwise.so")
    ):
        stored = stored_graph(tmp_path / f"b{number}", library=library)
        assert not compile_cache._is_ours(stored), library
    assert "is compiled anew" in caplog.text
    (own / "elementwise.so").chmod(0o777)
    assert not compile_cache._is_ours(tmp_path / "a")


def test_a_graph_that_others_can_have_written_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    stored = stored_graph(tmp_path / "graph", library="")
    (stored / "graph").write_bytes(b"no operator of ours")
    assert compile_cache._is_ours(stored)
    stored.chmod(0o770)
    assert not compile_cache._is_ours(stored)


def test_the_graphs_that_were_used_last_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(compile_cache, "KEPT_BYTES", 250)
    for age, name in enumerate(("new", "used", "older", "oldest")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "graph").write_bytes(bytes(100))
        os.utime(tmp_path / name, (1e9 - age, 1e9 - age))
    CompileCache(tmp_path, runtime=ALONE, packages=[])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "used"]
