"""Where a run took place: without it, no figure means anything."""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rig.progress import say

__all__ = ["disk", "machine", "versions"]

_SYNCS = 300


def machine() -> dict[str, Any]:
    """The computer and its Python."""
    return {
        "cpu_count": os.cpu_count(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "kernel": f"{platform.system()} {platform.release()}",
        "load_average": round(os.getloadavg()[0], 2),
    }


def disk(directory: Path) -> dict[str, Any]:
    """The file system under a directory, and the median time of a write of 4 KB with its flush."""
    device, kind, options = _mount(directory)
    if kind == "tmpfs":
        say(f"{directory} is on a tmpfs, where a flush costs nothing: give a real disk with --dir")
    return {
        "filesystem": kind,
        "filesystem_options": options,
        "journal": _has_journal(device, kind),
        "fdatasync_p50_us": round(_sync_us(directory / "sync-probe"), 1),
    }


def versions(*packages: str) -> dict[str, str]:
    """Of those that are installed."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _mount(directory: Path) -> tuple[str, str, str]:
    """The device, type and options of the longest mount point above the directory."""
    if sys.platform != "linux":
        return "", "unknown", ""
    best = ("", "", "unknown", "")
    for line in Path("/proc/self/mounts").read_text().splitlines():
        device, point, kind, options = line.split()[:4]
        if directory.resolve().is_relative_to(point) and len(point) >= len(best[1]):
            best = (device, point, kind, options)
    return best[0], best[2], best[3]


def _has_journal(device: str, kind: str) -> bool | None:
    """None where it cannot be told."""
    if kind in ("ext3", "ext4"):
        name = Path(device).resolve().name
        return any(entry.name.startswith(f"{name}-") for entry in Path("/proc/fs/jbd2").glob("*"))
    return {"xfs": True, "ext2": False, "tmpfs": False}.get(kind)


def _sync_us(path: Path) -> float:
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.pwrite(fd, bytes(1 << 20), 0)
        os.fsync(fd)
        times = []
        for number in range(_SYNCS):
            begin = time.perf_counter()
            os.pwrite(fd, bytes(4096), number % 256 * 4096)
            os.fdatasync(fd)
            times.append(time.perf_counter() - begin)
    finally:
        os.close(fd)
        path.unlink()
    return statistics.median(times) * 1e6
