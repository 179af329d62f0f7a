"""Watches what is flushed and what is renamed, to say what a power cut would leave.

A disk may write names before contents and later names before earlier ones. So a rename is safe if
what it moves was flushed since its last change, all files of a folder and the folder itself, and
the folder that got the name is flushed afterwards.
"""

import os
from pathlib import Path


class DiskWatch:
    def __init__(self, monkeypatch) -> None:
        self.renamed_to: list[Path] = []
        self._flushed: set[tuple[int, int, int]] = set()
        self._unsafe: list[str] = []
        self._without_name: list[Path] = []
        fsync, rename, replace = os.fsync, os.rename, os.replace

        def watched_fsync(descriptor):
            fsync(descriptor)
            self._flushed.add(_state(os.fstat(descriptor)))
            folder = Path(f"/proc/self/fd/{descriptor}").readlink()
            self._without_name = [path for path in self._without_name if path.parent != folder]

        def watched(move):
            def moved(source, target, **options):
                self._before(Path(source), Path(target))
                move(source, target, **options)

            return moved

        monkeypatch.setattr(os, "fsync", watched_fsync)
        monkeypatch.setattr(os, "rename", watched(rename))
        monkeypatch.setattr(os, "replace", watched(replace))

    def assert_power_cut_safe(self) -> None:
        assert self.renamed_to, "nothing was renamed: nothing was watched"
        assert not self._unsafe, f"renamed before it was flushed: {self._unsafe}"
        assert not self._without_name, f"its name was not flushed: {self._without_name}"

    def _before(self, source: Path, target: Path) -> None:
        if target.name.startswith("."):
            return  # something old that goes
        self.renamed_to.append(target)
        self._without_name.append(target.resolve())
        for path in (source, *source.rglob("*")) if source.is_dir() else (source,):
            if _state(path.stat()) not in self._flushed:
                self._unsafe.append(f"{path.name} -> {target.name}")


def _state(stat: os.stat_result) -> tuple[int, int, int]:
    return stat.st_ino, stat.st_size, stat.st_mtime_ns
