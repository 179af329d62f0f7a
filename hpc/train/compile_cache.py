"""Compiled graphs kept for the next start, and compiled once for all ranks.

A compilation takes all ranks the same long minute; here the first of them compiles while the others
wait, and they load what it left. A restart loads it too.

MindSpore numbers the graphs of a process and looks for a graph by its number, in one folder for the
life of the process. Here graphs are stored by `hpc.train.graph_key`, and MindSpore gets a scratch
folder into which the right graph is put under the next number. After the first graph of a process
that it had to compile, MindSpore 2.8 compiles (and keeps) all later ones too.
"""

import atexit
import contextlib
import hashlib
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import mindspore as ms
from mindspore import Tensor, nn
from mindspore.common import api

from hpc.cluster.runtime import Runtime
from hpc.durable_files import replace_folder
from hpc.ops.native.library import cache_folder
from hpc.private_paths import PRIVATE_MODE, why_not_ours
from hpc.train.graph_key import UnknownConstant, graph_key

KEPT_BYTES = 2 << 30
"""Of all graphs, 1 to 5 MB each for the tiny model; every stage of a pipeline has its own."""

Compiler = Callable[..., object]
"""``(cell, *inputs)`` -> the Cell is ready to run on such inputs."""

logger = logging.getLogger(__name__)


class CompileCache:
    """Compiles Cells, or loads what was compiled before.

    Every rank calls `compile` with its Cell at the same time.

    Args:
        folder: holds the graphs; all ranks see it. It can be deleted at any time between runs.
        runtime: the ranks.
        packages: folders of the source code that the graphs are made of.
    """

    def __init__(self, folder: Path, *, runtime: Runtime, packages: Iterable[Path]):
        self.folder, self.runtime = folder.absolute(), runtime
        self.packages = tuple(packages)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._ready: dict[tuple[Any, ...], nn.Cell] = {}
        if runtime.is_first:  # long before it comes to the first graph, and the others with it
            _forget_unused(self.folder)

    def compile(self, cell: nn.Cell, *inputs: Tensor) -> bool:
        """Compile a Cell for inputs of these shapes and dtypes, without running it.

        Returns:
            whether nothing had to be compiled.
        """
        seen = (id(cell), cell.training, *((tensor.shape, tensor.dtype) for tensor in inputs))
        if seen in self._ready:
            return True
        self._ready[seen] = cell
        key = self._key(cell, inputs)
        keys = self.runtime.all_gather_object(key)
        rank = self.runtime.place.rank
        if key is None or None in keys:
            cell.compile(*inputs)
            return False
        scratch = _scratch(self.runtime)
        if not self.runtime.compiles_alone:
            return scratch.compile(cell, inputs, self.folder / f"{key}_rank_{rank}")
        leads = keys.index(key) == rank
        if leads:
            loaded = scratch.compile(cell, inputs, self.folder / key)
        self.runtime.barrier()
        if not leads:
            loaded = scratch.compile(cell, inputs, self.folder / key)
        return loaded

    def _key(self, cell: nn.Cell, inputs: Iterable[Tensor]) -> str | None:
        try:
            key = graph_key(cell, inputs, packages=self.packages)
        except UnknownConstant as unknown:
            logger.warning("%s is compiled anew each time: %s", type(cell).__name__, unknown)
            return None
        return f"{key[:32]}_of_{self.runtime.place.size}"


class _Scratch:
    """The folder in which this process's MindSpore reads and writes its graphs."""

    def __init__(self, runtime: Runtime) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="graphs-"))
        self.rank = 0 if runtime.world_group is None else runtime.place.rank
        self.count = 0
        atexit.register(self.remove)
        _name_a_program_file()

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def compile(self, cell: nn.Cell, inputs: Iterable[Tensor], stored: Path) -> bool:
        """Compile with the graph stored in a folder, if it is whole; store it if it is new."""
        own = self.folder / f"rank_{self.rank}" / "graph_cache"
        own.mkdir(parents=True, exist_ok=True)
        role = os.environ.get("MS_ROLE", "")
        graph = own / f"{role}compile_cache_{self.count}.mindir"
        sources = own / f"{role}compile_dependency.hash"
        self.count += 1
        if _is_ours(stored) and _is_whole(stored):
            for name, target in (("graph", graph), ("sources", sources)):
                target.unlink(missing_ok=True)
                shutil.copyfile(stored / name, target)
                target.chmod(0o600)
            with contextlib.suppress(OSError):  # a graph less used than it was
                os.utime(stored)
        before = _written(graph)
        ms.set_context(enable_compile_cache=True, compile_cache_path=str(self.folder))
        try:
            cell.compile(*inputs)
        finally:
            ms.set_context(enable_compile_cache=False)
        after = _written(graph)
        if after is not None and after != before and sources.exists():
            _store(stored, graph=graph, sources=sources)
        return before is not None and after == before


def _name_a_program_file() -> None:
    """MindSpore hashes the source of the program, which ``python -c`` and a notebook have not."""
    if not Path(getattr(api, "entry_script_path", None) or "").is_file():
        api.entry_script_path = __file__


_of_process: _Scratch | None = None


def _scratch(runtime: Runtime) -> _Scratch:
    global _of_process
    if _of_process is None:
        _of_process = _Scratch(runtime)
    return _of_process


def remove_scratch() -> None:
    """Remove this process's scratch folder now, for a process that ends without its exit hooks."""
    if _of_process is not None:
        _of_process.remove()


def _written(graph: Path) -> int | None:
    return graph.stat().st_mtime_ns if graph.exists() else None


def _store(folder: Path, *, graph: Path, sources: Path) -> None:
    """Keep a graph for the next start; no room for it is no reason to stop this one."""
    try:
        with replace_folder(folder, overwrite=True) as staging:
            staging.chmod(PRIVATE_MODE)
            shutil.copyfile(graph, staging / "graph")
            shutil.copyfile(sources, staging / "sources")
            (staging / "sha256").write_text(_digest(staging))
    except OSError as error:
        logger.warning("a compiled graph is not kept in %s: %s", folder.parent, error.strerror)


def _is_whole(folder: Path) -> bool:
    try:
        return (folder / "sha256").read_text() == _digest(folder)
    except OSError:
        return False


def _is_ours(folder: Path) -> bool:
    """Whether nobody else can have made a graph; it would name code that MindSpore runs."""
    if not folder.exists():
        return False
    try:
        doubt = why_not_ours(folder) or _foreign_library((folder / "graph").read_bytes())
    except OSError:
        return False
    if doubt:
        logger.warning("a compiled graph is not used: %s; it is compiled anew", doubt)
    return doubt is None


def _foreign_library(graph: bytes) -> str | None:
    """Return the first library of a graph's operators that is not of our own cache, if any."""
    own = cache_folder().resolve()
    for mark in re.finditer(rb"func_name\*", graph):
        length, shift, start = 0, 0, mark.end()
        while start < len(graph):  # protobuf's number: seven bits a byte, the lowest first
            length |= (graph[start] & 0x7F) << shift
            shift, start = shift + 7, start + 1
            if graph[start - 1] < 0x80:
                break
        path, colon, _ = graph[start : start + length].rpartition(b":")
        library = Path(os.fsdecode(path))
        if colon and (library.parent != own or why_not_ours(own) or why_not_ours(library)):
            return f"it loads {library}, which is not in {own}"
    return None


def _digest(folder: Path) -> str:
    content = (folder / "graph").read_bytes() + (folder / "sources").read_bytes()
    return hashlib.sha256(content).hexdigest()


def _forget_unused(folder: Path) -> None:
    """Remove the graphs that have not been used for longest, down to `KEPT_BYTES`."""
    with contextlib.suppress(FileNotFoundError):  # another job forgets as well
        graphs = [path for path in folder.iterdir() if path.is_dir()]
        kept = 0
        for graph in sorted(graphs, key=lambda path: path.stat().st_mtime, reverse=True):
            kept += sum(file.stat().st_size for file in graph.iterdir())
            if kept > KEPT_BYTES:
                shutil.rmtree(graph, ignore_errors=True)
