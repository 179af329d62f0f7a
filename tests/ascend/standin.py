"""Build the stand-in for CANN and start programs over it.

The wheel of MindSpore holds its whole Ascend back end; what a host without the toolkit lacks are
CANN's libraries. `build()` compiles the stand-in of tests/ascend/cann under the names that the
wheel's libraries ask for, in a cache outside the tree; `environment()` is what a process needs to
find it. Nothing here runs on silicon, and everything that the stand-in prints says so.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SOURCES = Path(__file__).parent / "cann"
REAL = "libprediff_standin.so"
# Names under which the wheel's libraries and MindSpore's loader look for CANN.
NAMES = (
    "libascendcl.so", "libacl_op_compiler.so", "libge_runner.so", "libgraph.so", "libhccl.so",
    "libmsprofiler.so", "libruntime.so", "libplatform.so", "liberror_manager.so",
    "libnnopbase.so", "libc_sec.so", "libascend_hal.so", "libcann_kb.so", "libcompress.so",
    "libopskernel.so", "libhost_cpu_engine.so", "libslice.so", "libaoe_executor.so",
    "libacl_dvpp.so", "libacl_dvpp_op.so", "libacl_dvpp_mpi.so", "libprofapi.so", "libopapi.so",
    "libacl_tdt_channel.so", "libhcom_graph_adaptor.so", "libregister.so",
    "libhcom_opskernel_builder.so", "libra.so", "driver/libascend_hal.so",
)  # fmt: skip
# Libraries of the wheel whose missing symbols get a stub that says its name.
CALLERS = (
    "plugin/libmindspore_ascend.so.2",
    "plugin/libmindspore_ops_ascend.so",
    "plugin/ascend/libd_collective.so",
    "plugin/ascend/libmindspore_ascend_res_manager.so",
    "plugin/ascend/libhccl_plugin.so",
    "plugin/ascend/ms_kernels_symmetric_memory/shmem/shmem/lib/libshmem.so",
)
OF_CANN = re.compile(r"^(acl|rt[A-Z]|hal[A-Z]|Hccl|Hcom|ge[A-Z]|_ZNK?2ge|Initialize$|Finalize$)")
VERSION = "8.5.0"
# MindSpore asks for te's version and later whether te can be imported, which must then fail: its
# operators need a compiler that is not here.
TE = f"""import sys
frame = sys._getframe()
while frame is not None:
    if frame.f_code.co_name == "_support_te":
        raise ImportError("the stand-in has no operator compiler")
    frame = frame.f_back
class Version:
    @property
    def version(self):
        sys.modules.pop("te", None)
        return "{VERSION}"
version = Version()
"""


class CannotBuildStandIn(RuntimeError):
    """The stand-in cannot be built here; the message is one line that says why."""


def wheel() -> Path:
    """The folder of the installed MindSpore, found without importing it."""
    found = importlib.util.find_spec("mindspore")
    if found is None or not found.submodule_search_locations:
        raise CannotBuildStandIn("the stand-in for CANN needs MindSpore's wheel: not installed")
    return Path(found.submodule_search_locations[0])


def build(cache: Path | None = None) -> Path:
    """Compile the stand-in once for these sources and this wheel; the root it was built to.

    Raises: CannotBuildStandIn where g++, nm or the wheel's Ascend libraries are absent.
    """
    if shutil.which("g++") is None or shutil.which("nm") is None:
        raise CannotBuildStandIn("the stand-in for CANN is C++: install g++ and binutils")
    libraries = [wheel() / "lib" / name for name in CALLERS]
    for library in libraries[:2]:
        if not library.exists():
            raise CannotBuildStandIn(f"this MindSpore has no Ascend back end: {library} is absent")
    sources = sorted(SOURCES.iterdir())
    key = hashlib.sha256(Path(__file__).read_bytes())
    for path in (*sources, *(library for library in libraries if library.exists())):
        key.update(path.name.encode())
        key.update(path.read_bytes() if path.parent == SOURCES else b"%d" % path.stat().st_size)
    cache = cache or Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "prediff"
    root = cache / f"standin-{key.hexdigest()[:16]}"
    if (root / "done").exists():
        return root
    making = cache / f"{root.name}.{os.getpid()}"
    objects = making / "objects"
    objects.mkdir(parents=True)
    _compile(objects, sources)
    _link(making, objects, libraries)
    _furnish(making)
    shutil.rmtree(objects)
    (making / "done").write_text("")
    try:
        making.rename(root)
    except OSError:  # another process was faster
        shutil.rmtree(making)
    return root


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise CannotBuildStandIn(f"{' '.join(command[:6])} ... failed:\n{done.stderr[-4000:]}")
    return done.stdout


def _compile(objects: Path, sources: list[Path]) -> None:
    flags = ["-std=c++17", "-O1", "-fPIC", "-fvisibility=hidden", "-Wall", "-march=native"]

    headers = [path for path in sources if path.suffix == ".h"]
    keep = objects.parents[1] / "standin-objects"  # one changed source is one compilation
    keep.mkdir(exist_ok=True)

    def one(source: Path) -> None:
        # ge:: has std::string in its interface, of the old ABI
        abi = ["-D_GLIBCXX_USE_CXX11_ABI=0"] if source.name.startswith("graph_engine") else []
        key = hashlib.sha256(b"".join(path.read_bytes() for path in [source, *headers]))
        kept = keep / f"{source.stem}-{key.hexdigest()[:16]}.o"
        if not kept.exists():
            part = kept.with_suffix(f".{os.getpid()}")
            _run("g++", *flags, *abi, "-c", str(source), "-o", str(part))
            part.rename(kept)
        shutil.copyfile(kept, objects / f"{source.stem}.o")

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        list(pool.map(one, [path for path in sources if path.suffix == ".cpp"]))


def _symbols(library: Path, which: str) -> set[str]:
    lines = _run("nm", "-D", which, str(library)).splitlines()
    return {line.split()[-1].split("@")[0] for line in lines}


def _link(making: Path, objects: Path, libraries: list[Path]) -> None:
    """One real library, stubs for what nobody wrote, and an empty library for each name."""
    lib64 = making / "cann" / "lib64"
    (lib64 / "driver").mkdir(parents=True)
    first = objects / "first.so"
    parts = [str(path) for path in objects.glob("*.o")]
    _run("g++", "-shared", "-o", str(first), *parts, "-lpthread")
    present = [library for library in libraries if library.exists()]
    ours = _symbols(first, "--defined-only")
    for library in present:
        ours |= _symbols(library, "--defined-only")
    missing = set().union(*(_symbols(library, "--undefined-only") for library in present)) - ours
    asked = re.compile(rb"\0((?:acl(?:tdt|mdl|prof|op)|Hccl|Hcom)[A-Z][A-Za-z0-9]+)(?=\0)")
    operators = re.compile(rb"\0(aclnn[A-Z][A-Za-z0-9]+)(?=\0)")
    for library in present:
        content = library.read_bytes()
        missing |= {name.decode() for name in asked.findall(content)} - ours
        for name in {found.decode() for found in operators.findall(content)}:
            missing |= {name, f"{name}GetWorkspaceSize"} - ours
    stubs = objects / "generated.c"
    lines = ["extern void* standin_stub(const char*);"]
    for name in sorted(name for name in missing if OF_CANN.match(name)):
        lines.append(f'void* {name}(void) {{ return standin_stub("{name}"); }}')
    stubs.write_text("\n".join(lines) + "\n")
    _run("gcc", "-fPIC", "-w", "-c", str(stubs), "-o", str(objects / "generated.o"))
    real = lib64 / REAL
    _run("g++", "-shared", "-o", str(real), f"-Wl,-soname,{REAL}", *parts,
         str(objects / "generated.o"), "-lpthread")  # fmt: skip
    for name in NAMES:
        up = "$ORIGIN/.." if "/" in name else "$ORIGIN"
        _run("gcc", "-shared", "-o", str(lib64 / name), f"-Wl,-soname,{Path(name).name}",
             "-Wl,--no-as-needed", str(real), f"-Wl,-rpath,{up}")  # fmt: skip


def _furnish(making: Path) -> None:
    """The files beside the libraries that MindSpore looks at: versions and two Python packages."""
    cann = making / "cann"
    for folder in ("compiler", "runtime", "opp"):
        (cann / folder).mkdir()
        (cann / folder / "version.info").write_text(f"Version={VERSION}\n")
    python = cann / "python"
    for package, text in (("te", TE), ("hccl", "")):
        (python / package).mkdir(parents=True)
        (python / package / "__init__.py").write_text(text)
    (python / "hccl" / "sys_version.py").write_text(f"__sys_version__ = '{VERSION}'\n")
    (making / "dev").mkdir()
    for number in range(8):
        (making / "dev" / f"davinci{number}").write_text("a stand-in, no silicon\n")
    (cann / "opp" / "built-in" / "op_impl" / "ai_core" / "tbe").mkdir(parents=True)


def environment(root: Path, **options: object) -> dict[str, str]:
    """The environment of a process that shall meet the stand-in; options as PREDIFF_STANDIN_*."""
    cann = root / "cann"
    env = dict(os.environ)
    tbe = str(cann / "opp" / "built-in" / "op_impl" / "ai_core" / "tbe")
    libraries = [str(cann / "lib64"), str(wheel() / "lib" / "plugin" / "ascend" /
                 "ms_kernels_symmetric_memory" / "shmem" / "shmem" / "lib")]  # fmt: skip
    env["LD_LIBRARY_PATH"] = ":".join([*libraries, env.get("LD_LIBRARY_PATH", "")]).rstrip(":")
    env["PYTHONPATH"] = ":".join([str(cann / "python"), tbe, env.get("PYTHONPATH", "")]).rstrip(":")
    env["ASCEND_HOME_PATH"] = str(cann)
    env["ASCEND_TOOLKIT_HOME"] = str(cann)
    env["ASCEND_OPP_PATH"] = str(cann / "opp")
    env["PREDIFF_NPU_DEVICES"] = str(root / "dev")
    env["PREDIFF_STANDIN"] = "1"
    env.update({f"PREDIFF_STANDIN_{name.upper()}": str(value) for name, value in options.items()})
    return env


if __name__ == "__main__":
    made = build()
    if len(sys.argv) < 2:
        print(made)
    else:
        os.execvpe(sys.argv[1], sys.argv[1:], environment(made))
